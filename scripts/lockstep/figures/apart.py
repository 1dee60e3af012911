"""Work in processes of its own, which share what is in memory when they begin."""

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")


def begun(processes: int, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """Begin a call, and return what waits for its result or raises its error.

    Args:
        processes: that the caller may have; a single one calls when the result is asked for.
    """
    if processes < 2:
        return partial(function, *arguments)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    # a daemon ends with this process, and without its reader it ends once it has its result
    process = context.Process(
        target=_call, args=(receiver, sender, function, arguments), daemon=True
    )
    process.start()
    sender.close()

    def result() -> T:
        try:
            value, error = receiver.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"{function.__name__} ended with code {process.exitcode}") from None
        process.join()
        if error is not None:
            raise error
        return value

    return result


def _call(
    receiver: Connection,
    sender: Connection,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    receiver.close()
    try:
        answer: tuple[Any, Exception | None] = (function(*arguments), None)
    except Exception as error:
        answer = (None, error)
    # nobody reads it where the report was killed
    with suppress(BrokenPipeError):
        sender.send(answer)
