"""The barrier that keeps the shards of a category in step.

Each shard is a process of its own; all they share is a folder. A shard holds an exclusive lock on
its file for as long as it lives, so the kernel tells at once when it dies, and it publishes the
number of waves it has finished by an atomic replace. A shard starts wave w when every live shard
that is level has finished wave w−1−lead. A shard is level while it is no further behind than
lockstep allows; one that joins late or comes back catches up without being waited for.
"""

import fcntl
import json
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Self

from lockstep import records

POLL_SECONDS = 0.004
"""Between two looks at the peers; a release is seen within this time."""

LOADING = -1
"""Number of finished waves of a shard that is not ready yet."""


class State(NamedTuple):
    """What a shard has published."""

    run: str
    finished: int
    """Finished waves; LOADING before the shard is ready."""
    done: bool
    """Whether the shard has finished all its waves."""


class Barrier:
    """One shard's place among its peers.

    Args:
        folder: shared folder of the category's waves.
        shard: own number, 0 ≤ shard < shards.
        shards: number of shards of the category.
        run: name of the invocation; what other invocations left is not trusted.
        expected: shards that have work in this run, own number included or not.
        slots: shards that can run at a time.
        lead: waves that a shard may be ahead of the slowest.
        sync: False switches all waiting off; waves are still published.
        join_timeout: seconds to wait at the first wave for shards that are not ready.
    """

    def __init__(
        self,
        folder: Path,
        shard: int,
        shards: int,
        run: str,
        expected: Collection[int],
        slots: int,
        lead: int = 0,
        sync: bool = True,
        join_timeout: float = 1800.0,
    ) -> None:
        self._folder = Path(folder)
        self._shard = shard
        self._shards = shards
        self._run = run
        self._expected = {*expected, shard}
        self._slots = slots
        self._lead = lead
        self._sync = sync
        self._join_timeout = join_timeout
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._path(self._shard, "lock"), os.O_RDWR | os.O_CREAT, 0o644)
        # a peer's look holds the lock for microseconds
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._publish(LOADING)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._publish(self._shards_finished, done=True)
        os.close(self._lock)
        self._lock = None

    def ready(self) -> None:
        """Say that the first wave can begin."""
        self._publish(0)

    def finish(self, wave: int) -> None:
        """Say that a wave is finished; edited, found in the cache or failed all count."""
        self._publish(wave + 1)

    def wait(self, wave: int) -> float:
        """Wait until a wave may start and return the seconds waited."""
        began = time.monotonic()
        if not self._sync or self._shards == 1:
            return 0.0
        deadline = began + self._join_timeout if wave == 0 else None
        while self._held_back(wave):
            if deadline is not None and time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        return time.monotonic() - began

    def _held_back(self, wave: int) -> bool:
        peers = {k: self._peer(k) for k in range(self._shards) if k != self._shard}
        live = {k: state for k, (state, alive) in peers.items() if alive and state is not None}
        if wave == 0:
            ended = {
                k
                for k, (state, alive) in peers.items()
                if state is not None and state.run == self._run and (state.done or not alive)
            }
            can_run = min(self._slots, len(self._expected - ended))
            if len(live) + 1 < can_run:
                return True
            return any(state.finished == LOADING for state in live.values())
        # a live peer that had finished less when the last wave began is not level
        behind = wave - self._lead - 1
        return behind >= 0 and any(state.finished == behind for state in live.values())

    def _peer(self, shard: int) -> tuple[State | None, bool]:
        """Return what a peer published, and whether it lives."""
        try:
            lock = os.open(self._path(shard, "lock"), os.O_RDWR)
        except FileNotFoundError:
            return None, False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alive = False
        except BlockingIOError:
            alive = True
        finally:
            os.close(lock)
        try:
            state = State(**json.loads(self._path(shard, "json").read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None, alive
        if alive and state.run != self._run:
            # it holds its lock but has not published in this run yet
            return State(self._run, LOADING, False), True
        return state, alive

    def _publish(self, finished: int, done: bool = False) -> None:
        self._shards_finished = finished
        state = State(self._run, finished, done)
        with records.atomic(self._path(self._shard, "json"), durable=False) as file:
            file.write(json.dumps(state._asdict()).encode())

    def _path(self, shard: int, suffix: str) -> Path:
        return self._folder / f"shard-{shard}-of-{self._shards}.{suffix}"
