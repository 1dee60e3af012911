"""Images of others, decoded in a process of their own, which ends when one takes too long.

The kernel ends it, by the processor's time: no decoder can hold that up, and no image is slow for a
busy machine. A process serves one image after the other, and is started anew after one that ended
it.
"""

import fcntl
import json
import resource
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, cast

from PIL import Image

from lockstep.errors import SampleError
from lockstep.foreign.images import MAX_PIXELS, Verified, verify_image

SECONDS = 10
"""Time of the processor that an image may take, for each MAX_PIXELS that it may have."""

MEMORY, PER_PIXEL = 2**30, 32
"""Bytes that the process may have, and as many more for each pixel that an image may have."""

BLOCKS = 16
"""Blocks of up to 16 MB that are kept from one image to the next."""

MAIN = "from lockstep.foreign.quarantine import serve; serve()"

CODE = f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); {MAIN}"

PIPE = 2**20
"""Bytes of images that wait for the process, where the system allows it."""

REQUEST, REPLY = struct.Struct("=QdQ"), struct.Struct("=Q")
"""Before an image: the most pixels, seconds, and its bytes. Before an answer: its bytes."""


class Quarantine:
    """Verifies images in the order in which they are given, while the caller does something else.

    Of one thread at a time. A few small images may wait; a larger one is taken when those before it
    are done.
    """

    def __init__(self) -> None:
        self._asked: deque[tuple[bytes, int]] = deque()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, data: bytes, max_pixels: int = MAX_PIXELS) -> None:
        """Give an image, whose answer is to be taken after those of all before."""
        self._asked.append((data, max_pixels))
        if self._process is None:
            self._start()
        else:
            _send(self._process, data, max_pixels)

    def answer(self) -> Verified:
        """Return what `verify_image` says of the first image without an answer.

        Raises:
            SampleError: as `verify_image`, and if it takes too long or brings its decoder down.
        """
        answer, code = self._receive()
        if answer is None and code != -signal.SIGPROF:
            # a process that somebody else ended says nothing of the image
            answer, code = self._receive()
        _, max_pixels = self._asked.popleft()
        if code == -signal.SIGPROF:
            raise SampleError(
                f"expected an image that decodes within {_seconds(max_pixels)} s, "
                "found one that takes longer"
            )
        if answer is None:
            raise SampleError(f"expected an image, found one that ends its decoder (code {code})")
        if "error" in answer:
            raise SampleError(answer["error"])
        return Verified(*answer["verified"])

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process, and give it what has no answer."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        # a user with many pipes gets no larger ones
        with suppress(OSError):
            fcntl.fcntl(_requests(process), fcntl.F_SETPIPE_SZ, PIPE)
        self._end = weakref.finalize(self, _end, process)
        for data, max_pixels in self._asked:
            _send(process, data, max_pixels)
        return process

    def _receive(self) -> tuple[dict[str, Any] | None, int]:
        """Return an answer, or None and how the process ended."""
        process = self._process or self._start()
        with suppress(EOFError):
            (length,) = REPLY.unpack(_read(_replies(process), REPLY.size))
            return json.loads(_read(_replies(process), length)), 0
        self._end()
        self._process = None
        return None, process.returncode


HELD = 2
"""Images that a process has at a time, so that it need not wait for the next one."""

Asked = tuple[bytes, int, "Future[Verified]"]


class Quarantines:
    """Verifies images in several processes, each of which is started when there is work for it."""

    def __init__(self, processes: int) -> None:
        self._asked: SimpleQueue[Asked | None] = SimpleQueue()
        # nobody waits for an image when the job ends
        self._threads = [
            threading.Thread(target=_pass_on, args=(self._asked,), daemon=True)
            for _ in range(processes)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, data: bytes, max_pixels: int = MAX_PIXELS) -> "Future[Verified]":
        """Return the answer to come for an image, as `Quarantine.answer` gives it."""
        answer: Future[Verified] = Future()
        self._asked.put((data, max_pixels, answer))
        return answer

    def close(self) -> None:
        """End each process once it has answered for what it was given."""
        for _ in self._threads:
            self._asked.put(None)


def _pass_on(asked: "SimpleQueue[Asked | None]") -> None:
    """Pass images on to a process, until there is none to come."""
    apart, answers, ended = Quarantine(), deque[Future[Verified]](), False
    while answers or not ended:
        given = None
        if not ended and len(answers) < HELD:
            with suppress(Empty):
                given = asked.get(block=not answers)
                ended = given is None
        if given is not None:
            data, max_pixels, answer = given
            answers.append(answer)
            # that a process cannot be started is told with its answer
            with suppress(OSError):
                apart.ask(data, max_pixels)
        elif answers:
            answer = answers.popleft()
            try:
                answer.set_result(apart.answer())
            except BaseException as error:
                answer.set_exception(error)


def serve() -> None:
    """Answer for one image after the other until nobody asks any more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # when to end is for the job that asks
        signal.signal(number, signal.SIG_IGN)
    # memory that is given back and taken anew takes a quarter of a small image's time
    Image.core.set_blocks_max(BLOCKS)  # type: ignore[attr-defined]
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    while header := requests.read(REQUEST.size):
        max_pixels, seconds, length = REQUEST.unpack(header)
        data = requests.read(length)
        text = json.dumps(_verified(data, max_pixels, seconds)).encode()
        replies.write(REPLY.pack(len(text)) + text)
        replies.flush()


def _verified(data: bytes, max_pixels: int, seconds: float) -> dict[str, Any]:
    memory = MEMORY + PER_PIXEL * max_pixels
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or memory < most:
        resource.setrlimit(resource.RLIMIT_AS, (memory, most))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return {"verified": verify_image(data, max_pixels)}
    except SampleError as error:
        return {"error": str(error)}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _seconds(max_pixels: int) -> float:
    return SECONDS * max(1, -(-max_pixels // MAX_PIXELS))


def _requests(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast(IO[bytes], process.stdin)


def _replies(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast(IO[bytes], process.stdout)


def _send(process: subprocess.Popen[bytes], data: bytes, max_pixels: int) -> None:
    # one that has ended is noticed when its answer is
    with suppress(BrokenPipeError):
        requests = _requests(process)
        requests.write(REQUEST.pack(max_pixels, _seconds(max_pixels), len(data)))
        requests.write(data)
        requests.flush()


def _read(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise EOFError
    return data


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    _replies(process).close()
    # what was not yet written goes with it
    with suppress(BrokenPipeError):
        _requests(process).close()
