"""The barrier that keeps the shards of a category in step.

Each shard is a process of its own; all they share is a folder. A shard publishes the number of
waves it has finished by an atomic replace, and holds an exclusive lock on a file of its own for as
long as it lives, so that the kernel tells its peers on the same host at once when it dies. Peers on
another host, where locks may not reach, are judged by a heartbeat; so is a stopped process.

A shard starts wave w when every live shard that is level has finished wave w−1−lead. A shard is
level while it is no further behind than that rule allows; one that joins late or comes back catches
up without being waited for. The protocol and what follows from it: docs/waves.md.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import inotify_simple
import psutil

from lockstep import plan, records
from lockstep.devices import stopping

log = logging.getLogger(__name__)

LOADING = -1
"""Number of finished waves of a shard that is not ready yet."""

LOOKS = (0.002, 0.02, 0.2, 1.0)
"""Seconds until the next look if nothing is heard: soon after a sign, then ever less often.

A dying process is heard of a moment before the kernel drops its lock, so the first is short.
"""

REMOTE_LOOK = 0.25
"""Seconds between looks while a peer is on another host, from which nothing is heard."""

COMPLAINT = 60.0
"""Seconds of waiting after which the log names whom for."""


class Peer(NamedTuple):
    """What a shard knows of another one."""

    alive: bool
    finished: int = LOADING
    """Finished waves, with those before its first; LOADING before it is ready."""
    ended: bool = False
    """Whether it has finished or died in this run, and is not waited for at the start."""
    device: str = ""
    seconds: float | None = None
    """Time that its last finished wave took."""
    first: int = 0
    """The first wave that it has work in."""
    said: Mapping[str, Any] | None = None
    """All that it last published in this run; None if it did not yet."""


def late(
    wave: int,
    lead: int,
    peers: Mapping[int, Peer],
    expected: Collection[int],
    slots: int,
    first: int = 0,
) -> set[int]:
    """Return the peers that keep a wave from starting; the rule of the barrier.

    Args:
        wave: the wave to start, from 0.
        lead: waves that a shard may be ahead of the slowest.
        peers: all other shards.
        expected: other shards that have work in this run.
        slots: shards that can run at a time.
        first: the first wave that the shard itself has work in.
    """
    live = {number for number, peer in peers.items() if peer.alive}
    # a live peer that had finished less when the last wave began is not level
    behind = wave - lead - 1
    slower = {number for number in live if behind >= 0 and peers[number].finished == behind}
    # those that begin with this wave, and for one that begins, those that begin before it
    begin = {k for k, peer in peers.items() if peer.first == wave or peer.first < wave == first}
    loading = {number for number in live & begin if peers[number].finished == LOADING}
    if slots <= len(peers):
        # who is not here yet may have to wait for the slot of one that is
        return slower | loading
    coming = {number for number in begin.intersection(expected) if not peers[number].ended} - live
    return slower | loading | coming


class Barrier:
    """One shard's place among its peers.

    Args:
        folder: shared folder of the category's waves.
        shard: own number, 0 ≤ shard < shards.
        shards: number of shards of the category.
        run: name of the invocation; what other invocations left is not trusted.
        expected: shards that have work in this run, own number included or not.
        slots: shards that can run at a time.
        first: place of the category's first sample, as `plan.shard_indices` takes it.
        device: name shown to the peers.
        lead: waves that a shard may be ahead of the slowest.
        sync: False switches all waiting off; waves are still published.
        join_timeout: seconds to wait at the first waves for shards that are not ready.
        heartbeat_timeout: seconds of silence after which a peer on another host counts as dead, and
            one on this host is not waited for if it was stopped, or belongs to another run.
    """

    def __init__(
        self,
        folder: Path,
        shard: int,
        shards: int,
        run: str,
        expected: Collection[int],
        slots: int,
        first: int = 0,
        device: str = "",
        lead: int = 0,
        sync: bool = True,
        join_timeout: float = 1800.0,
        heartbeat_timeout: float = 60.0,
    ) -> None:
        self.folder = Path(folder)
        self._shard = shard
        self._others = [number for number in range(shards) if number != shard]
        self._shards = shards
        self.run = run
        self._expected = set(expected) - {shard}
        self._slots = slots
        self._begins = [plan.first_wave(number, shards, first) for number in range(shards)]
        self.first_wave = self._begins[shard]
        """The wave of the shard's first sample."""
        self._device = device
        self._lead = lead
        self._sync = sync
        self._join_timeout = join_timeout
        self._heartbeat_timeout = heartbeat_timeout
        self._host = host()
        self._remote = False
        self._states: dict[int, dict[str, Any]] = {}
        self._heard: dict[int, tuple[dict[str, Any], float]] = {}
        """Last state of each peer on another host, and when it was new to us."""
        self._state: dict[str, object] = {"finished": LOADING, "done": False, "seconds": None}
        self._strange: dict[int, float] = {}
        """When a peer's lock was first seen held by who says nothing in this run."""
        self._left: set[int] = set()
        """Peers of which the log says that they are not waited for."""
        self._beats = 0
        self._looks = 0
        self._publishing = threading.Lock()
        self._leaving = threading.Event()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ears = _Ears(self.folder)
        self._lock = os.open(
            self._path(self._shard, "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644
        )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another process still edits this shard, waiting for its end")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.publish()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._leaving.set()
        if kind is None:
            self.publish(done=True)
        os.close(self._lock)
        self._ears.close()

    def ready(self) -> None:
        """Say that this shard's first wave can begin."""
        self.publish(finished=self.first_wave)

    def finish(self, wave: int, seconds: float | None = None) -> None:
        """Say that a wave is finished; edited, found in the cache or failed all count."""
        self.publish(finished=wave + 1, seconds=seconds)

    def wait(self, wave: int) -> float:
        """Wait until a wave may start and return the seconds waited.

        Raises:
            Stopped: if this process is asked to end.
        """
        if not self._sync or not self._others:
            return 0.0
        began = time.monotonic()
        complaint = began + COMPLAINT
        self._looks = 0
        missed: set[int] = set()
        while behind := self._late(wave) - missed:
            stopping.check()
            now = time.monotonic()
            if wave <= max(self._begins) and now - began >= self._join_timeout:
                # who is at work on the wave before is no one to start without
                absent = {number for number in behind if self._look(number).finished == LOADING}
                if absent:
                    log.warning("starting without %s", self._names(absent))
                    missed |= absent
                    continue
            if now >= complaint:
                log.info("waiting for %s since %.0f s", self._names(behind), now - began)
                complaint = now + COMPLAINT
            self.listen()
        return time.monotonic() - began

    def listen(self) -> None:
        """Wait for a sign of a peer: soon after the last one, then ever less often."""
        timeout = min(LOOKS[self._looks], REMOTE_LOOK if self._remote else LOOKS[-1])
        heard = self._ears.listen(timeout)
        self._looks = 0 if heard else min(self._looks + 1, len(LOOKS) - 1)

    def peers(self) -> dict[int, Peer]:
        """Return what can be known of all other shards now."""
        return {number: self._look(number) for number in self._others}

    def slowest(self, wave: int, seconds: float) -> tuple[str, float]:
        """Return which device took longest for a wave, and how much longer than the others' mean.

        Args:
            seconds: the time that this shard took for it.
        """
        times = {self._device: seconds}
        for number in self._others:
            peer = self._look(number)
            if peer.finished == wave + 1 and peer.seconds is not None:
                times[peer.device] = peer.seconds
        name = max(times, key=times.__getitem__)
        others = [value for device, value in times.items() if device != name]
        return name, times[name] - (sum(others) / len(others) if others else times[name])

    def _late(self, wave: int) -> set[int]:
        return late(wave, self._lead, self.peers(), self._expected, self._slots, self.first_wave)

    def _look(self, number: int) -> Peer:
        """Return what can be known of a peer now."""
        first = self._begins[number]
        locked = _locked(self._path(number, "lock"))
        state = self._read(number)
        if state is None:
            # it may hold its lock already and not have published in this run yet
            other = locked and self._is_of_another_run(number)
            return Peer(alive=locked and not other, ended=other, first=first)
        alive = locked
        if state["host"] != self._host:
            self._remote = True
            alive = not state["done"] and self._is_heard(number, state)
        elif locked and not self._is_heard(number, state):
            alive = not self._is_stopped(number, state["pid"])
        ended = state["done"] or not alive
        return Peer(
            alive, state["finished"], ended, state["device"], state["seconds"], first, state
        )

    def _read(self, number: int) -> dict[str, Any] | None:
        """Return what a peer last published in this run; None if it did not yet."""
        try:
            state = json.loads(self._path(number, "json").read_bytes())
            if state.get("run") == self.run:
                self._states[number] = state
        except (OSError, ValueError, AttributeError):
            # not there yet; or on a shared file system, replaced while it was read
            pass
        return self._states.get(number)

    def _is_heard(self, number: int, state: dict[str, Any]) -> bool:
        """Tell whether a peer on another host has changed its state lately.

        Its clock is not compared with ours: what counts is when a change was new to us.
        """
        now = time.monotonic()
        last, when = self._heard.get(number, (None, now))
        if state != last:
            self._heard[number] = (state, now)
            return True
        return now - when < self._heartbeat_timeout

    def _is_of_another_run(self, number: int) -> bool:
        """Tell whether a lock is held by who should have said something in this run, and did not.

        A run that was killed may have left jobs on a cluster, which wait for peers of their own.
        """
        since = self._strange.setdefault(number, time.monotonic())
        other = time.monotonic() - since >= self._heartbeat_timeout
        if other:
            self._leave_behind(number, "another run still edits it")
        return other

    def _is_stopped(self, number: int, pid: int) -> bool:
        """Tell whether a process of this host, which holds its lock, was stopped by a signal."""
        try:
            stopped = psutil.Process(pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            # in a container, where processes have other numbers
            return False
        if stopped:
            self._leave_behind(number, f"process {pid} is stopped")
        return stopped

    def _leave_behind(self, number: int, reason: str) -> None:
        if number not in self._left:
            self._left.add(number)
            log.warning("going on without shard %d: %s", number, reason)

    def _beat(self) -> None:
        while not self._leaving.wait(self._heartbeat_timeout / 6):
            self._beats += 1
            try:
                self.publish()
            except OSError as error:
                # what goes wrong once on a shared file system must not end all that come after it
                log.warning("no heartbeat (%s)", error)

    def publish(self, **changes: object) -> None:
        """Replace what the peers read of this shard: what is given changes, the rest stays."""
        with self._publishing:
            self._state.update(changes)
            if self._state["done"] and "done" not in changes:
                return
            state = {
                **self._state,
                "run": self.run,
                "host": self._host,
                "device": self._device,
                "pid": os.getpid(),
                "beats": self._beats,
            }
            with records.atomic(self._path(self._shard, "json"), durable=False) as file:
                file.write(json.dumps(state).encode())

    def _names(self, numbers: Collection[int]) -> str:
        return ", ".join(f"shard {number}" for number in sorted(numbers))

    def _path(self, shard: int, suffix: str) -> Path:
        return self.folder / f"shard-{shard}-of-{self._shards}.{suffix}"


class _Ears:
    """Hears of changes in a folder: states that are replaced, locks that are closed."""

    def __init__(self, folder: Path) -> None:
        flags = inotify_simple.flags
        try:
            self._inotify = inotify_simple.INotify()
            self._inotify.add_watch(folder, flags.MOVED_TO | flags.CLOSE_WRITE)
        except OSError as error:
            # the host's limit of watches; looking now and then still works
            log.warning("no notice of changes (%s), looking every %.2f s", error, LOOKS[1])
            self._inotify = None

    def listen(self, timeout: float) -> bool:
        """Wait for a change, at most `timeout` seconds, and tell whether there was one."""
        if self._inotify is None:
            time.sleep(min(timeout, LOOKS[1]))
            return False
        return bool(self._inotify.read(timeout=max(1, round(timeout * 1000))))

    def close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()


def host() -> str:
    """Return what names the running kernel: within it, locks can be relied on."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _locked(path: Path) -> bool:
    """Tell whether a living process of this host holds a lock."""
    try:
        # read-only, so that closing it is no sign for others
        lock = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # not exclusive, which NFS refuses on what is open for reading alone
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
