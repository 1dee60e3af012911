"""A budget of money: requests to a server stop before they have cost more.

What a request costs is known when it has been answered. So before an item is asked for, the dearest
that it may be is claimed in a ledger, which all processes and runs share; what it did not take is
given back when it ends.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from lockstep import records
from lockstep.errors import ServerError
from lockstep.models.backend import Usage


class Exhausted(ServerError):
    """The next item may cost more than is left."""


class Spent(NamedTuple):
    """What requests took, over all runs into the same results."""

    requests: int
    """Sent, further tries included."""
    prompt_tokens: int
    """Of answers that tell theirs; of others the most that they may have taken."""
    reply_tokens: int

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.reply_tokens)


def spent(ledger: Path) -> Spent:
    """Return what was spent; what requests under way have claimed is in it."""
    return Spent(*records.claimed(ledger, len(Spent._fields)))


class _Item(threading.local):
    """What this thread asks for."""

    each = Usage(0, 0)
    """The most that one request takes."""
    left = 0
    """Requests that are claimed and not sent."""
    open = 0
    """Requests that were sent and have not told what they took."""


class Budget:
    """What requests to a server may cost; several threads may ask at a time.

    Args:
        option: of the configuration, which is the budget.
        most: in the currency of the prices; None only counts.
        price: gives what tokens cost.
        ledger: file of what was spent.
    """

    def __init__(
        self, option: str, most: float | None, price: Callable[[Usage], float], ledger: Path
    ) -> None:
        self._option, self._most, self._price, self._ledger = option, most, price, ledger
        self._lock = ledger.with_name(f"{ledger.name}.lock")
        """Shared by all processes that have items under way."""
        self._shared = ExitStack()
        self._changed = threading.Condition()
        self._under_way = 0
        self._dearest = 0
        """Most prompt tokens that a request took so far."""
        self._item = _Item()

    @contextmanager
    def item(self, each: Usage, requests: int) -> Iterator[None]:
        """Pay for all requests that this thread sends within the block.

        Args:
            each: the most that one request is expected to take.
            requests: that it may need, all of which are claimed before the first is sent.

        Raises:
            Exhausted: if they may cost more than is left; nothing is sent then.
        """
        with self._changed:
            each = each._replace(prompt_tokens=max(each.prompt_tokens, self._dearest))
            # what others give back may suffice
            while not self._claim(each, requests):
                if self._under_way:
                    self._changed.wait()
                else:
                    self._claim_alone(each, requests)
                    break
            if not self._under_way:
                self._shared.enter_context(records.shared(self._lock))
            self._under_way += 1
        own = self._item
        own.each, own.left, own.open = each, requests, 0
        try:
            yield
        finally:
            with self._changed:
                self._claim(own.each, -own.left)
                self._under_way -= 1
                if not self._under_way:
                    self._shared.close()
                self._changed.notify_all()

    def spend(self) -> None:
        """Take note of a request that is about to be sent.

        Raises:
            Exhausted: if it is one more than was claimed, and may cost more than is left.
        """
        own = self._item
        if own.left:
            own.left -= 1
        # others may wait for this item's end, so that it cannot wait for theirs
        elif not self._claim(own.each, 1):
            raise self._exhausted(own.each, 1)
        own.open += 1

    def paid(self, used: Usage) -> None:
        """Take note of what an answered request took."""
        own = self._item
        if not own.open:
            return
        own.open -= 1
        with self._changed:
            self._dearest = max(self._dearest, used.prompt_tokens)
        over = [n - most for n, most in zip(used, own.each, strict=True)]
        records.claim(self._ledger, [0, *over], lambda _: True)

    def _claim_alone(self, each: Usage, requests: int) -> None:
        """Claim when no process has items under way."""
        with records.shared(self._lock, alone=True):
            if not self._claim(each, requests):
                raise self._exhausted(each, requests)

    def _claim(self, each: Usage, requests: int) -> bool:
        amounts = [requests, *(requests * n for n in each)]
        return records.claim(self._ledger, amounts, self._fits if requests > 0 else lambda _: True)

    def _fits(self, sums: Sequence[int]) -> bool:
        if self._most is None:
            return True
        return self._price(Spent(*sums).usage) <= self._most

    def _exhausted(self, each: Usage, requests: int) -> Exhausted:
        so_far = self._price(spent(self._ledger).usage)
        next_one = self._price(Usage(*(requests * n for n in each)))
        return Exhausted(
            f"{self._option}: expected at most {self._most:g} spent over all runs into "
            f"these results, found {so_far:.4f} spent and up to {next_one:.4f} needed for the next "
            "one"
        )
