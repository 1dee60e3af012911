"""Requests to a server: each has an end, and says no secret.

A try has a time in which all of it must be over, from the look-up of the server's name to the last
byte of its answer, and an answer has a greatest length. What may pass is tried again; pauses grow,
and one that the server asks for is kept by all requests. Proxies and certificates are those that
the environment names.
"""

import asyncio
import datetime
import email.utils
import json
import logging
import random
import re
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
import tenacity

from lockstep.errors import ConfigError, LockstepError
from lockstep.foreign.network import certificates, proxy_of
from lockstep.foreign.redaction import redact

log = logging.getLogger(__name__)

# one line per request would fill the log, and below that it would hold headers
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

FIRST_PAUSE = 1.0
"""Longest pause after the first failed try, in seconds; it doubles with every further one."""

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection to be made."""

REFUSING = {401, 500, 502, 503, 504}
"""Statuses of a server that does not take the key, or fails. Others may mean that it has no such
path."""

Read = TypeVar("Read")


class Failed(LockstepError):
    """A request failed."""


class Passing(Failed):
    """One try of a request failed, another may not."""


class Limits(NamedTuple):
    """How long, how often and how much."""

    timeout: float
    """Seconds within which a try must be over."""
    attempts: int
    """Most tries of one request."""
    max_wait: float
    """Longest pause between two tries, in seconds."""
    answer: int
    """Most bytes of an answer, unpacked."""


class Form(NamedTuple):
    """The body of a request as multipart/form-data."""

    fields: dict[str, str]
    files: list[tuple[str, tuple[str, bytes, str]]]
    """Name of the field, then name, bytes and type of each file."""


@dataclass(frozen=True)
class Answer:
    """What a server sent."""

    status: int
    headers: httpx.Headers
    body: bytes = field(repr=False)
    """As it came: it may hold the key."""
    key: str | None = field(repr=False)

    @cached_property
    def text(self) -> str:
        """The body as text, without the key."""
        # JSON is UTF-8, whatever a server says (RFC 8259, 8.1)
        return redact(self.body.decode("utf-8-sig", "replace"), self.key)

    @property
    def is_utf8(self) -> bool:
        """Whether the body is text as JSON is."""
        try:
            self.body.decode()
        except UnicodeDecodeError:
            return False
        return True

    @property
    def good(self) -> bool:
        """Whether the status says that the request was done."""
        return 200 <= self.status < 300

    @property
    def said(self) -> str:
        """Status and text for a message, on one line."""
        return f"the server answered {self.status} ({' '.join(self.text.split())[:300]})"


class Client:
    """Sends requests to one server; several threads may use it at a time.

    Args:
        key: sent with each request, and nowhere shown.
        spend: called before each try of a POST, which may cost something.

    Raises:
        ConfigError: if the environment names a proxy or certificates that cannot be.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        limits: Limits,
        spend: Callable[[], None] = lambda: None,
    ) -> None:
        self._url, self._key, self._limits, self._spend = url, key, limits, spend
        # what a server packs is unpacked here, up to the limit
        headers = {"Accept-Encoding": "identity"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        proxy = proxy_of(url)
        self._client = httpx.AsyncClient(
            headers=headers,
            # how many requests there are at a time is for those who call
            limits=httpx.Limits(max_connections=None),
            proxy=proxy,
            timeout=httpx.Timeout(None, connect=min(CONNECT_TIMEOUT, limits.timeout)),
            trust_env=False,
            verify=certificates(url, proxy),
        )
        self._stopping = threading.Event()
        self._resume = 0.0
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Passing),
            stop=tenacity.stop_after_attempt(limits.attempts)
            | tenacity.stop_when_event_set(self._stopping),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(self._stopping),
            before_sleep=_log_retry,
            reraise=True,
        )
        # Only a task can be ended wherever it is. A timeout of a socket begins anew with each byte.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._thread.start()

    def post(self, path: str, body: dict[str, Any] | Form, read: Callable[[Answer], Read]) -> Read:
        """Return what `read` makes of the answer to a request with a JSON object or a form.

        It is tried again as long as `read` raises `Passing`, or no answer comes.

        Raises:
            Failed: if there is no answer to read after all tries; or whatever else `read` raises.
        """
        return self._retrying(self._try, "POST", path, body, read)

    def fetch(self, path: str, read: Callable[[Answer], Read]) -> Read:
        """Return what `read` makes of the answer to a GET, tried again as `post` does.

        Args:
            path: or a whole address of the same server.

        Raises:
            Failed: as `post`.
        """
        return self._retrying(self._try, "GET", path, None, read)

    def get(self, path: str) -> Answer:
        """Return the answer to one request.

        Raises:
            Passing: if there is none.
        """
        return self._send("GET", path, None)

    def stop(self) -> None:
        """Let the requests that are under way end, and try nothing again."""
        self._stopping.set()

    def close(self) -> None:
        """Drop all requests and connections."""
        self.stop()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def _try(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | Form | None,
        read: Callable[[Answer], Read],
    ) -> Read:
        # a server that asked to be left alone means all requests
        pause = self._resume - time.monotonic()
        if self._stopping.wait(pause + _jitter(FIRST_PAUSE) if pause > 0 else 0):
            raise Failed("the job has stopped")
        if method == "POST":
            self._spend()
        answer = self._send(method, path, body)
        try:
            return read(answer)
        except Passing as error:
            self._keep_to(retry_after(answer.headers), str(error))
            raise

    def _send(self, method: str, path: str, body: dict[str, Any] | Form | None) -> Answer:
        content: dict[str, Any] = {"json": body}
        if isinstance(body, Form):
            content = {"data": body.fields, "files": body.files}
        address = path if "://" in path else f"{self._url}/{path}"
        request = self._client.build_request(method, address, **content)
        sent = asyncio.run_coroutine_threadsafe(self._exchange(request), self._loop)
        try:
            return sent.result()
        except Failed:
            raise
        except TimeoutError:
            seconds = f"{self._limits.timeout:g} s"
            raise Passing(f"found no whole answer at {self._url} within {seconds}") from None
        # not only httpx's own: some of what a server can send fails in the libraries below it
        except Exception as error:
            # the key first: of one that is cut off, half would stay
            said = " ".join(redact(f"{type(error).__name__}: {error}", self._key).split())
            raise Passing(f"found no answer at {self._url} ({said[:500]})") from None

    async def _exchange(self, request: httpx.Request) -> Answer:
        async with asyncio.timeout(self._limits.timeout):
            response = await self._client.send(request, stream=True)
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
        return Answer(response.status_code, response.headers, body, self._key)

    async def _body(self, response: httpx.Response) -> bytes:
        """Return the body of an answer, unpacked.

        Raises:
            Failed: if it is longer than it may be; no more than that is held.
            Passing: if it cannot be unpacked.
        """
        unpack, body = self._unpacker(response.headers), bytearray()
        async for part in response.aiter_raw():
            most = self._limits.answer + 1 - len(body)
            body += part[:most] if unpack is None else unpack.decompress(part, most)
            if len(body) > self._limits.answer:
                raise Failed(
                    f"expected an answer of at most {self._limits.answer / 2**20:g} MiB "
                    f"at {self._url}, found a longer one"
                )
        if unpack is not None and not unpack.eof:
            raise Passing(f"the answer at {self._url} was cut off")
        return bytes(body)

    def _unpacker(self, headers: httpx.Headers) -> Any:
        """Return what unpacks a body; None if nothing has to."""
        packed = headers.get("Content-Encoding", "").strip()
        if packed.lower() in ("", "identity"):
            return None
        if packed.lower() in ("gzip", "x-gzip", "deflate"):
            return zlib.decompressobj(zlib.MAX_WBITS | 32)
        found = redact(packed, self._key)[:50]
        raise Failed(f"expected an answer that is not packed, or by gzip, found {found!r}")

    def _keep_to(self, after: float | None, said: str) -> None:
        """Have all requests wait for the seconds that a server asks for."""
        if after is None:
            return
        longest = self._limits.max_wait
        if after > longest:
            raise Failed(
                f"{said} and asks for a pause of {after:.0f} s, "
                f"expected at most {longest:.0f} s (max_wait)"
            )
        self._resume = max(self._resume, time.monotonic() + after)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds until the next try: each time up to twice as long."""
        doubled = FIRST_PAUSE * 2.0 ** min(state.attempt_number - 1, 60)
        return _jitter(min(doubled, self._limits.max_wait))


def check(url: str, key: str | None, option: str, asked: str | None) -> None:
    """Check that requests to a server can be sent.

    Args:
        option: of the configuration, which names the server's address.
        asked: path that is asked for once, to see whether the server is there and takes the key;
            None asks nothing.

    Raises:
        ConfigError: if the environment names a proxy or certificates that cannot be, or if the
            server is not there, fails, does not take the key or answers no JSON.
    """
    client = Client(url, key, Limits(CONNECT_TIMEOUT, 1, 0.0, 2**24))
    expected = "a server that is running and takes the key"
    try:
        answer = None if asked is None else client.get(asked)
        fault = answer.said if answer is not None and answer.status in REFUSING else None
        if answer is not None and answer.good and not _is_json(answer.text):
            fault, expected = answer.said, "the address up to /v1 of a server that answers in JSON"
    except Failed as error:
        fault = str(error)
    finally:
        client.close()
    if fault is not None:
        proxy = proxy_of(url)
        way = "" if proxy is None else f" through the proxy {urlsplit(proxy).netloc.split('@')[-1]}"
        raise ConfigError(f"{option}: expected {expected}, tried GET {url}/{asked}{way}: {fault}")


def _is_json(text: str) -> bool:
    """Tell whether a server's text is JSON, or nothing."""
    try:
        json.loads(text or "null")
    except (ValueError, RecursionError):
        return False
    return True


def ask(url: str, key: str | None, path: str) -> Answer:
    """Return a server's answer to one GET.

    Raises:
        Failed: if there is none.
        ConfigError: as `Client`.
    """
    client = Client(url, key, Limits(CONNECT_TIMEOUT, 1, 0.0, 2**24))
    try:
        return client.get(path)
    finally:
        client.close()


def retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds that a server asks to wait before the next request, None if it does not.

    Retry-After holds seconds or a date (RFC 9110, 10.2.3); the server's own clock counts.
    """
    given = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", given):
        return float(given)
    until, now = _date(given), _date(headers.get("Date", ""))
    if until is None:
        return None
    now = now or datetime.datetime.now(datetime.UTC)
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime.datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
    # the parser has more ways to fail than it tells of, and they differ between versions of Python
    except Exception:
        return None
    return date if date.tzinfo else date.replace(tzinfo=datetime.UTC)


def _jitter(longest: float) -> float:
    """Return a pause, by chance: all who were turned away together must not come back together."""
    return random.uniform(longest / 2, longest)


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    log.warning("%s, trying again (try %d)", error, state.attempt_number + 1)
