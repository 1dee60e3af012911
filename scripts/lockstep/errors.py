"""What can go wrong for a user, as one tree.

LockstepError
├── ConfigError      the configuration names something that cannot be
├── BenchmarkError   the benchmark file as a whole cannot be read
├── SampleError      one sample cannot be used; it is rejected, the others go on
├── EditError        one sample cannot be edited; recorded as edit_failed
│   └── SkipError    its editor takes no such sample; recorded as skipped, which is no failure
├── RubricError      a rubric file is not one
├── TemplateError    a rubric's template cannot be filled in
├── ReplyError       a judge's reply holds no valid score; recorded as judge_failed
├── DamagedError     a file is not what was written to it
├── SharedError      all samples fail alike; the fault is none of theirs
├── OutOfMemory      a batch does not fit a device; a smaller one may
├── DeviceError      a device is not there, fails, or somebody else holds it
├── ServerError      a judge's server is of no use; what is judged is kept
├── WorkerError      a job in the process that holds its model came to no end; another try may
└── Stopped          a job was asked to end; what is finished is kept

A message is one sentence: the place, what was expected, what was found.
Every other exception is a bug and shows its traceback.
"""

import difflib
from collections.abc import Iterable


class LockstepError(Exception):
    """A user's mistake or a failure of one sample, with the fix in the message."""

    is_final = False
    """Whether another try without a change would fail alike."""


class ConfigError(LockstepError):
    """The configuration names something that cannot be."""

    is_final = True


class BenchmarkError(LockstepError):
    """The benchmark file as a whole cannot be read."""

    is_final = True


class SampleError(LockstepError):
    """One sample of the benchmark cannot be used."""

    id: str | None = None
    """How its benchmark names it, where that is known."""
    subset: str | None = None
    """Name of its category there, where that is known."""
    category: str | None = None
    """Key of its category, where that is known."""


class LeftOut(SampleError):
    """One sample of the benchmark is of a kind that the configuration does not ask for.

    The text names the kind, such as "rows in zh".
    """


class EditError(LockstepError):
    """One sample cannot be edited."""


class SkipError(EditError):
    """One sample is of a kind that its editor does not take."""


class RubricError(LockstepError):
    """A rubric file is not one."""

    is_final = True


class TemplateError(LockstepError):
    """A template cannot be read, or filled in with some values."""


class ReplyError(LockstepError):
    """A judge's reply holds no valid score."""


class DamagedError(LockstepError, ValueError):
    """A file is not what was written to it."""


class SharedError(LockstepError):
    """All samples fail alike."""

    is_final = True


class OutOfMemory(LockstepError):
    """A batch does not fit a device; a smaller one may."""


class DeviceError(LockstepError):
    """A device is not there, fails, or somebody else holds it."""


class ServerError(LockstepError):
    """A judge's server is of no use."""


class WorkerError(LockstepError):
    """A job in the process that holds its model came to no end."""


class Stopped(LockstepError):
    """A job was asked to end."""


def suggest(found: str, expected: Iterable[str]) -> str:
    """Return ' (did you mean …?)' for the closest expected word, or ''."""
    close = difflib.get_close_matches(found, list(expected), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def counted(number: int, noun: str, several: str | None = None) -> str:
    """Return a number with its noun: 1 edit, 2 edits, 0 categories.

    Args:
        several: the noun's plural; None adds an s.
    """
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"


NO_UTF8 = "expected text in UTF-8, found another encoding"
"""Message for bytes that are not text. It replaces the codec's own words."""


def one_sentence(error: BaseException) -> str:
    """Return an exception as one line that fits a record's `error`."""
    text = " ".join(str(error).split()) or type(error).__name__
    name = "" if isinstance(error, LockstepError) else f"{type(error).__name__}: "
    return (name + text)[:500]
