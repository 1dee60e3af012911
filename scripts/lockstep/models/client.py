"""A model behind a server: its client, and what its requests came to."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from lockstep.foreign.transport import Client, Failed, Limits
from lockstep.models.answers import Refused
from lockstep.models.backend import Usage
from lockstep.models.budget import Budget
from lockstep.models.served_settings import ServedSettings

log = logging.getLogger(__name__)


class ServedModel:
    """A client of a server; several threads may use it at a time.

    Args:
        longest: most bytes of an answer.

    Raises:
        ConfigError: if the configured variable holds no key, or if the environment names a proxy
            or certificates that cannot be.
    """

    done = ""

    def __init__(self, settings: ServedSettings, longest: int) -> None:
        self.option = settings.option
        self._settings = settings
        limits = Limits(settings.timeout, settings.attempts, settings.max_wait, longest)
        self._key = settings.key
        self.spend: Callable[[], None] = lambda: None
        """Called before each try of a request that may cost something; it may refuse."""
        self._paid: Callable[[Usage], None] = lambda _: None
        """Called, by the thread that asked, with what an answer took."""
        self._client = Client(settings.url, self._key, limits, lambda: self.spend())
        self._counting = threading.Lock()
        self.asked = 0
        """Requests that are over: answered, refused or failed for good."""
        self.failures: list[str] = []
        """Why requests failed for good."""
        self.usage = Usage(0, 0)
        """Tokens that the server has counted so far."""
        self.images = 0
        """Images that it has made so far."""

    def pay_from(self, ledger: Path) -> Budget:
        """Return what pays for all requests from now on.

        Args:
            ledger: file of what was spent.
        """
        asks = self._settings

        def price(used: Usage) -> float:
            return asks.price(used, 0) or 0

        most = getattr(asks, "budget", None)
        budget = Budget(f"{self.option}.budget", most, price, ledger)
        self.spend, self._paid = budget.spend, budget.paid
        return budget

    def stop(self) -> None:
        """Let what the server works on end, and try nothing again."""
        self._client.stop()

    def close(self) -> None:
        """Drop all connections and log what they were used for."""
        self._client.close()
        log.info(
            "%d requests, %d failed, %d prompt tokens, %d reply tokens%s",
            self.asked,
            len(self.failures),
            *self.usage,
            self._price(),
        )

    def _use(self, tokens: Usage | None) -> None:
        """Add what an answer took; it is paid for, whatever it is worth."""
        if tokens is not None:
            self._paid(tokens)
            with self._counting:
                self.usage = Usage(*map(sum, zip(self.usage, tokens, strict=True)))

    def _count(self, failure: Failed | None) -> None:
        """Count a request that is over; a refusal is an answer."""
        with self._counting:
            self.asked += 1
            if failure is not None and not isinstance(failure, Refused):
                self.failures.append(str(failure))

    def _price(self) -> str:
        """Return what the requests cost, as the end of a line; nothing if no price is known."""
        price = self._settings.price(self.usage, self.images)
        return "" if price is None else f", price {price:.4f}"
