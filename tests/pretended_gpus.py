"""GPUs that are not there: tensors that say where they are, computed on the CPU.

What may not happen on several GPUs fails here too: an operation over tensors of different ones.
"""

import os
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ACROSS = {"_to_copy", "copy_"}
"""Operations that move from one device to another."""

INDEXED = {"index", "index_put_", "_index_put_impl_"}
"""Operations that take indices from the CPU too."""


@contextmanager
def pretended_gpus(count, free=2**30):
    """Let devices `cuda:0`, `cuda:1`, … be used as if they were there.

    Args:
        free: bytes that each has.
    """
    patches = {
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: count,
        "torch.cuda.mem_get_info": lambda device=0: (free, free),
        "torch.cuda.get_device_name": lambda device=0: "pretended",
        "torch.cuda.set_device": lambda device: None,
        "torch.cuda._lazy_init": lambda: None,
        "torch.cuda.Event": mock.Mock,
        "torch.Tensor.pin_memory": lambda tensor: tensor,
        "transformers.modeling_utils.caching_allocator_warmup": lambda *_: None,
        # in inference mode operations come here whole that consist of others
        "torch.inference_mode.__enter__": lambda _: None,
        "torch.inference_mode.__exit__": lambda *_: None,
    }
    with ExitStack() as entered:
        for name, function in patches.items():
            entered.enter_context(mock.patch(name, function))
        # what is done here is seen in this thread alone
        entered.enter_context(mock.patch.dict(os.environ, HF_DEACTIVATE_ASYNC_LOAD="1"))
        # as PyTorch's own FakeTensorMode does it
        torch._C._ensureCUDADeviceGuardSet()
        torch._C._set_only_lift_cpu_tensors(True)
        entered.callback(torch._C._set_only_lift_cpu_tensors, False)
        for context in (torch.no_grad(), _Calls(), _Operations()):
            entered.enter_context(context)
        yield


class _Elsewhere(torch.Tensor):
    """A tensor on a device that is not there."""

    @staticmethod
    def __new__(cls, held, device):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, dtype=held.dtype, device=device, **layout
        )
        made.held = held
        return made

    def tolist(self):
        return self.held.tolist()

    def __repr__(self):
        return f"{self.held} on {self.device}"

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):
        return _run(function, arguments, named or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        return _run(function, arguments, named or {})


class _Calls(TorchFunctionMode):
    """What makes a tensor on a device without an operation that could be seen."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        if function is torch.tensor and "device" in named:
            plain = {name: value for name, value in named.items() if name != "device"}
            return torch.tensor(tree_map(_held, arguments[0]), **plain).to(named["device"])
        return function(*arguments, **named)


def _run(function, arguments, named):
    place = _place(function, arguments, named)
    plain, plain_named = tree_map(_held, (arguments, named))
    if place.type == "cuda" and "device" in named:
        plain_named["device"] = "cpu"
    found = function(*plain, **plain_named)
    if function._schema.is_mutable:
        return arguments[0]
    return tree_map(lambda leaf: _placed(leaf, place), found)


def _place(function, arguments, named):
    """Return where an operation's result lies."""
    name = function._schema.name.removeprefix("aten::")
    tensors = [leaf for leaf in tree_leaves((arguments, named)) if isinstance(leaf, torch.Tensor)]
    # a single number may come from the CPU
    places = {t.device for t in tensors if t.ndim or t.device.type != "cpu"}
    if name in INDEXED:
        places = {tensors[0].device, *(places - {torch.device("cpu")})}
    if len(places) > 1 and name not in ACROSS:
        raise RuntimeError(f"{function} over tensors on {', '.join(sorted(map(str, places)))}")
    if named.get("device") is not None:
        return torch.device(named["device"])
    return next(iter(places), torch.device("cpu"))


def _held(leaf):
    return leaf.held if isinstance(leaf, _Elsewhere) else leaf


def _placed(leaf, place):
    elsewhere = isinstance(leaf, torch.Tensor) and place.type == "cuda"
    return _Elsewhere(leaf, place) if elsewhere else leaf
