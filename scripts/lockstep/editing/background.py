"""Work of the CPU beside that of the device: threads that take one call after the other."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Submit(Protocol):
    def __call__(self, call: Callable[[], T]) -> "Future[T]":
        """Take a call and return at once; the future has its result or what it raised."""


@contextmanager
def background(name: str, patience: float) -> Iterator[Submit]:
    """Yield a function that hands calls to a thread, which takes them one after the other.

    The thread ends with the block, however that ends, once it has done all that it was given.

    Args:
        patience: seconds that the block's end waits for it. What takes longer goes on until it is
            done or the process ends, which it does not keep from ending.
    """
    calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()

    def work() -> None:
        while (given := calls.get()) is not None:
            future, call = given
            try:
                future.set_result(call())
            except BaseException as error:  # raised where the result is asked for
                future.set_exception(error)

    def submit(call: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        calls.put((future, call))
        return future

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield submit
    finally:
        calls.put(None)
        thread.join(patience)
