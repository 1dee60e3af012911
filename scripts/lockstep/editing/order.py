"""In which order a job goes through samples: its own in turn, or from a queue of all shards.

In the queue a shard edits its own samples from the front. When it has none left, it takes samples
from the end of the shard that has most left. What a shard has in hand it publishes beside its wave
(waves.py), so others leave it alone for as long as that shard lives. A lock lets one shard at a
time choose. Records stay with the shard that owns the sample: it waits for what others have in
hand, and takes it over if they die. More on this in docs/waves.md.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lockstep import records
from lockstep.editing.waves import Barrier, Peer, host
from lockstep.records import EditRecord, Sample
from lockstep.records.rows import aside

log = logging.getLogger(__name__)

READERS = 4
"""Edits that are looked at a time."""

PATIENCE = 5.0
"""Seconds after which a shard chooses without the lock: who holds it must have been stopped."""


class Edit(NamedTuple):
    """A sample to edit."""

    sample: Sample
    seed: int
    key: str
    path: Path
    """Edited image."""
    known: EditRecord | None = None
    """Its record, if it is in the cache."""


class Order(Protocol):
    """The order in which a job edits its samples."""

    mine: Sequence[Edit]
    """The samples of the job's shard, whose records it writes."""

    def take(self) -> tuple[int, Edit] | None:
        """Return the next item with its wave; None if there is nothing to take now."""

    def ahead(self) -> Edit | None:
        """Return the missing item that comes next, as far as that is known now."""

    def settle(self, item: Edit, record: EditRecord) -> None:
        """Take note of what became of an item: its image is saved, or there is none."""

    def wait(self) -> bool:
        """Wait for others and tell whether there may be something to take; False at the end."""

    def records(self, done: Iterable[EditRecord]) -> Iterable[EditRecord]:
        """Return the records of the job's own samples, in order, from those of what it took."""


class InTurn:
    """A shard's own samples, one after the other; others have theirs.

    Args:
        first: wave of the first one.
    """

    def __init__(self, mine: Sequence[Edit], first: int) -> None:
        self.mine = mine
        self._first = first
        self._taken = 0

    def take(self) -> tuple[int, Edit] | None:
        place = self._taken
        if place == len(self.mine):
            return None
        self._taken += 1
        return self._first + place, self.mine[place]

    def ahead(self) -> Edit | None:
        left = (self.mine[place] for place in range(self._taken, len(self.mine)))
        return next((item for item in left if item.known is None), None)

    def settle(self, item: Edit, record: EditRecord) -> None:
        pass

    def wait(self) -> bool:
        return False

    def records(self, done: Iterable[EditRecord]) -> Iterable[EditRecord]:
        made, where = _by_id(done)
        return (made[where[item.sample.id]] for item in self.mine)


class Queue:
    """The missing samples of a category, of which each free device takes the next.

    Args:
        barrier: of the shard, where it publishes what it has in hand.
        mine: the shard's samples, with what is known of them.
        parts: indices of each shard's samples in the category.
        item: returns the sample of an index.
        silent: shards that others may work for even before they begin.
        looked_up: returns an item with what is known of it now.
    """

    def __init__(
        self,
        barrier: Barrier,
        mine: Sequence[Edit],
        parts: Sequence[Sequence[int]],
        item: Callable[[int], Edit],
        silent: Collection[int],
        looked_up: Callable[[Edit], Edit],
    ) -> None:
        self.mine = mine
        self._barrier = barrier
        self._parts = parts
        self._item = item
        self._silent = silent
        self._looked_up = looked_up
        self._host = host()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        self._lock = os.open(barrier.folder / "queue.lock", flags, 0o644)
        self._front = 0
        """How many of the own samples it has gone past."""
        self._left: list[int] = []
        """Places of those that others had in hand."""
        self._awaited = 0
        """How many of those the log says it waits for."""
        self._by_others: dict[int, EditRecord] = {}
        """Records of those that others have finished, by place."""
        self._damaged: set[str] = set()
        """Ids of own samples that nobody has in hand and that have no whole image."""
        self._ends = [len(part) for part in parts]
        """How many of each shard's samples may be left, from its front."""
        self._taken: set[str] = set()
        """Ids of other shards' samples that it took."""
        self._hand: tuple[str, ...] = ()
        self._failed: dict[str, Any] = {}
        """Records of the samples among them that failed or were skipped, by id."""
        self._guard = threading.Lock()

    def close(self) -> None:
        os.close(self._lock)

    def take(self) -> tuple[int, Edit] | None:
        with self._alone():
            known = self._look()
            if (place := self._own(known)) is not None:
                item, wave = self.mine[place], place
                if place == self._front:
                    self._front += 1
                else:
                    self._left.remove(place)
            elif (other := self._of_others(known)) is not None:
                item, wave = other, len(self.mine) + len(self._taken)
                self._taken.add(item.sample.id)
            else:
                return None
            with self._guard:
                self._hand += (item.sample.id,)
                self._barrier.publish(hand=self._hand, front=self._front, next=None)
        return self._barrier.first_wave + wave, item

    def ahead(self) -> Edit | None:
        known = self._look()
        place = self._own(known)
        item = self._of_others(known) if place is None else self.mine[place]
        # others take another one, if there is another one
        self._barrier.publish(next=None if item is None else item.sample.id)
        return item

    def settle(self, item: Edit, record: EditRecord) -> None:
        sample = item.sample.id
        with self._guard:
            self._hand = tuple(held for held in self._hand if held != sample)
            if record.status != "ok" and sample in self._taken:
                self._failed[sample] = record.model_dump(mode="json")
            self._barrier.publish(hand=self._hand, failed=self._failed)

    def wait(self) -> bool:
        if not self._left:
            return False
        known = self._look()
        held = [place for place in self._left if self.mine[place].sample.id in known.held]
        free = [place for place in self._left if place not in held]
        self._collect(free, known.failed)
        self._left = [place for place in self._left if place not in self._by_others]
        if self._left == held:
            if not held:
                return False
            if len(held) != self._awaited:
                self._awaited = len(held)
                log.info("waiting for %d samples that other devices edit", len(held))
            self._barrier.listen()
        return True

    def records(self, done: Iterable[EditRecord]) -> Iterator[EditRecord]:
        made, where = _by_id(done)
        for place, item in enumerate(self.mine):
            if item.known is not None:
                yield item.known
            elif place in self._by_others:
                yield self._by_others[place]
            else:
                yield made[where[item.sample.id]]
        log.info(
            "%d samples were edited by other devices, %d of other shards here",
            len(self._by_others),
            len(self._taken),
        )

    def _own(self, known: "_Known") -> int | None:
        """Return the place of the own sample that is next."""
        while self._front < len(self.mine):
            item = self.mine[self._front]
            if item.known is None:
                if not self._is_closed(item, known):
                    return self._front
                self._left.append(self._front)
            self._front += 1
        open_ = (place for place in self._left if not self._is_closed(self.mine[place], known))
        return next(open_, None)

    def _of_others(self, known: "_Known") -> Edit | None:
        """Return the sample to take from another shard: the last of the one with most left."""
        wished = None
        for number in sorted(known.fronts, key=lambda k: known.fronts[k] - self._ends[k]):
            for place in range(self._ends[number] - 1, known.fronts[number] - 1, -1):
                item = self._item(self._parts[number][place])
                if self._is_closed(item, known):
                    if place == self._ends[number] - 1:
                        # if it opens again, it is for its owner
                        self._ends[number] = place
                elif item.sample.id not in known.wishes:
                    return item
                elif wished is None:
                    wished = item
        return wished

    def _is_closed(self, item: Edit, known: "_Known") -> bool:
        """Tell whether an item is in somebody's hand or done."""
        sample = item.sample.id
        if sample in known.held or sample in known.failed:
            return True
        return sample not in self._damaged and records.read_key(item.path) == item.key

    def _collect(self, places: Sequence[int], failed: Mapping[str, Any]) -> None:
        """Take over what others have made of own samples."""
        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(self._looked_up, (self.mine[place] for place in places)))
        for place, item in zip(places, found, strict=True):
            if item.known is not None:
                cached = item.known.run != self._barrier.run
                self._by_others[place] = item.known.model_copy(update={"cached": cached})
            elif item.sample.id in failed:
                self._by_others[place] = EditRecord.model_validate(failed[item.sample.id])
            else:
                self._damaged.add(item.sample.id)

    def _look(self) -> "_Known":
        """Return what all shards have published."""
        peers = self._barrier.peers()
        said = [peer.said for peer in peers.values() if peer.said is not None and peer.alive]
        # what ended badly may have failed because of its device
        lasting = [p.said for p in peers.values() if p.said and (p.alive or p.said["done"])]
        with self._guard:
            held, failed = set(self._hand), dict(self._failed)
        for state in said:
            held.update(state.get("hand", ()))
        self._damaged -= held
        for state in lasting:
            failed.update(state.get("failed", {}))
        fronts = {k: front for k, p in peers.items() if (front := self._front_of(k, p)) is not None}
        return _Known(held, failed, {state.get("next") for state in said}, fronts)

    def _front_of(self, number: int, peer: Peer) -> int | None:
        """Return how far a shard is with its samples; None if others must not take any of them."""
        if peer.said is None:
            return 0 if number in self._silent else None
        # locks may not reach other hosts
        if peer.said["host"] != self._host or peer.said["done"]:
            return None
        front: int = peer.said.get("front", 0)
        return front

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one shard of this host at a time choose, so that no two take the same sample."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    log.warning("choosing a sample without the lock, whose holder does not go on")
                    break
                time.sleep(0.001)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _by_id(done: Iterable[EditRecord]) -> tuple[Sequence[EditRecord], dict[str, int]]:
    """Return records, and where that of each sample is among them."""
    made = aside(done)
    return made, {record.id: number for number, record in enumerate(made)}


class _Known(NamedTuple):
    """What shards have published of their work."""

    held: set[str]
    """Ids of samples that somebody has in hand, this shard included."""
    failed: Mapping[str, Any]
    """Records of taken samples that have no image, by id."""
    wishes: set[str | None]
    """Ids of what the others prepare, to be edited next."""
    fronts: Mapping[int, int]
    """How far each other shard is with its samples, where some may be taken."""
