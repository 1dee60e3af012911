"""Triton's interpreter with numbers in arrays of one element as bounds of a loop.

NumPy has stopped to take such arrays for numbers, which the interpreter counts on.
"""

from triton.runtime import interpreter

_patch = interpreter._patch_lang_tensor


def _patched(tensor, scope):
    _patch(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


interpreter._patch_lang_tensor = _patched
