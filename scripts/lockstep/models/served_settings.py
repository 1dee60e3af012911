"""What a user may say of a model behind a server with the OpenAI interface."""

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt

from lockstep.config.section import Seconds
from lockstep.models.backend import BackendSettings, Usage
from lockstep.plan import requests_at_a_time

# what editors, judges and rewriters append to an address
ENDPOINTS = ("/images/edits", "/chat/completions")


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment:
        # it may hold a secret, so it is not shown
        raise ValueError(
            "expected an address without user, password and query (api_key_variable names the "
            "key), found more"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
        raise ValueError(f"expected an address such as http://localhost:8000/v1, found {url!r}")
    own = url.rstrip("/")
    for end in ENDPOINTS:
        if own.endswith(end):
            raise ValueError(f"expected the server's address without {end}, found {url!r}")
    return own


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port of an address, if it names one, can be one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


class ServedSettings(BackendSettings):
    """What an editor and a judge behind a server share."""

    served: ClassVar[bool] = True
    neutral: ClassVar[frozenset[str]] = frozenset(
        {
            "url",
            "api_key_variable",
            "concurrency",
            "timeout",
            "attempts",
            "max_wait",
            "max_failed_share",
            "input_price",
            "output_price",
        }
    )
    model: str = Field(min_length=1, description="Name of the model on the server.")
    revision: str | None = Field(
        None,
        description="Version of the weights on the server. If it changes, everything is requested "
        "again.",
    )
    url: Annotated[str, AfterValidator(_plain_url)] = Field(
        description="Address of the server, up to /v1. A change of the address redoes nothing."
    )
    api_key_variable: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = Field(
        None, description="Name of the environment variable that holds the server's key."
    )
    request: dict[str, Any] = Field(
        {}, description="Further fields of each request. null leaves a default field out."
    )
    concurrency: PositiveInt = Field(
        16, le=10_000, description="Requests at the same time, of all jobs together."
    )
    timeout: Seconds = Field(
        300.0, description="Seconds that one try may take, up to the last byte of the answer."
    )
    attempts: PositiveInt = Field(8, le=100, description="Most tries of one request.")
    max_wait: Seconds = Field(
        120.0,
        description="Longest pause between two tries, in seconds. If the server asks for a longer "
        "pause, the request fails.",
    )
    max_failed_share: float = Field(
        0.2, ge=0, le=1, description="Share of failed requests above which a job stops."
    )
    input_price: NonNegativeFloat | None = Field(
        None, description="Price of a million prompt tokens, in any currency."
    )
    output_price: NonNegativeFloat | None = Field(
        None, description="Price of a million generated tokens, in the same currency."
    )

    if TYPE_CHECKING:

        @property
        def option(self) -> str:
            """What messages call its part of the configuration."""

    def at_once(self, jobs: int) -> int:
        """Return how many requests one job may have at a time.

        Args:
            jobs: that may ask at a time.
        """
        return requests_at_a_time(self.concurrency, jobs)

    @property
    def key(self) -> str | None:
        """The server's key; None where none is configured.

        Raises:
            ConfigError: if the variable holds none.
        """
        from lockstep.foreign import network

        return network.read_key(self.api_key_variable, f"{self.option}.api_key_variable")

    def price(self, usage: Usage, images: int) -> float | None:
        """Return what requests cost; None if no price is configured.

        Args:
            usage: tokens of all of them.
            images: that were made.
        """
        prices = (self.input_price, self.output_price)
        if prices == (None, None):
            return None
        return sum(n * (each or 0) for n, each in zip(usage, prices, strict=True)) / 1e6

    def check_environment(self, reach: bool) -> None:
        """Check what it needs beside files: variables, addresses, keys.

        Args:
            reach: whether its server must be there.

        Raises:
            ConfigError: if the key's variable, a proxy or certificates are none, or if the server
                is not there or does not take the key.
        """
        from lockstep.foreign import transport

        asked = "models" if reach else None
        transport.check(self.url, self.key, f"{self.option}.url", asked)

    def listed(self) -> list[str]:
        """Return the names of the models that its server lists; not every server lists any.

        Raises:
            ConfigError: if the key's variable holds none.
        """
        from lockstep.foreign import transport

        try:
            data = json.loads(transport.ask(self.url, self.key, "models").body)["data"]
            return [str(model["id"]) for model in data]
        except (transport.Failed, ValueError, LookupError, TypeError, RecursionError):
            return []
