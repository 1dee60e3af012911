"""Asking a server: requests side by side, and an end when too many of them fail."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from lockstep.errors import ServerError

ENOUGH = 20
"""Requests of which a share is counted at least; of fewer a single failure would be many."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Server(Protocol):
    option: str
    """Of the configuration; it begins sentences."""
    done: str
    """What its answers are, for a sentence: judged or edited."""
    asked: int
    """Requests that are over."""
    failures: list[str]
    """Why requests failed."""

    def stop(self) -> None:
        """Let what the server works on end, and try nothing again."""


def side_by_side(
    server: Server,
    items: Sequence[Item],
    ask: Callable[[Item], Result],
    workers: int,
    max_failed_share: float,
    known: int = 0,
) -> Iterator[Result]:
    """Yield what `ask` gives for each item, as soon as it is there.

    Before any exception is raised, all that the server works on is waited for and yielded: it has
    been paid for.

    Args:
        ask: called by several threads at a time.
        workers: number of threads.
        known: items beside these that an earlier job has an answer for. They count as asked, so
            that a job that goes on stops no sooner than one that was never ended.

    Raises:
        ServerError: if more than a share of the requests fail, or whatever `ask` raises.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    end = object()
    stopping = threading.Event()

    def work() -> None:
        try:
            while not stopping.is_set():
                done.put(ask(waiting.get_nowait()))
        except queue.Empty:
            pass
        except Exception as error:
            done.put(error)
        finally:
            done.put(end)

    for item in items:
        waiting.put(item)
    running = min(workers, len(items))
    for _ in range(running):
        # an interrupted job ends at once, whatever the server does
        threading.Thread(target=work, name="request", daemon=True).start()
    problem = None
    while running:
        found = done.get()
        if found is end:
            running -= 1
        elif isinstance(found, Exception):
            problem = problem or found
        else:
            yield found
            problem = problem or _too_many(server, len(items), max_failed_share, known)
        if problem is not None:
            stopping.set()
            server.stop()
    if problem is not None:
        raise problem


def _too_many(
    server: Server, items: int, max_failed_share: float, known: int
) -> ServerError | None:
    """Return the error that ends a job, if more than a share of its requests failed."""
    failed = len(server.failures)
    if failed <= max_failed_share * max(server.asked + known, min(items + known, ENOUGH)):
        return None
    return ServerError(
        f"{server.option}: expected at most a share of {max_failed_share} of failed requests "
        f"({server.option}.max_failed_share), found {failed} of {server.asked}; "
        f"what is {server.done} is kept, run again; the last failure: {server.failures[-1]}"
    )
