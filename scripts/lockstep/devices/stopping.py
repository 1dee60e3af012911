"""Asking this process's job to end: it does so between two items, and what is done is kept."""

from lockstep.errors import Stopped

_reasons: list[str] = []


def request(reason: str) -> None:
    """Ask the job to end; from any thread or signal handler."""
    _reasons.append(reason)


def forget() -> None:
    """Take back what was asked of an earlier job."""
    _reasons.clear()


def check() -> None:
    """Raise Stopped if the job was asked to end; called where no item is in hand."""
    if _reasons:
        raise Stopped(f"stopped, {_reasons[0]}; what is finished is kept")
