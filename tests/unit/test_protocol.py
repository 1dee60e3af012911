"""The rule of the barrier against a model, over any interleaving of what shards can do."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lockstep import plan
from lockstep.editing.waves import LOADING, Peer, late


@dataclass(eq=False)
class Shard:
    """What is true of a shard; peers see `alive`, `finished` and `ended` alone."""

    first: int
    """The first wave that it has work in."""
    waves: int
    alive: bool = False
    ended: bool = False
    done: bool = False
    finished: int = LOADING
    wave: int | None = None
    """The wave that it works on."""
    level: bool = False
    """Whether it is owed to be waited for."""


def only(able):
    """Make a rule of what a shard does: it runs whenever some shard is able to."""

    def decorate(action):
        def step(self, data):
            able_shards = [s for s in self.shards if getattr(self, able)(s)]
            action(self, data.draw(st.sampled_from(able_shards)))

        def possible(self):
            return hasattr(self, "shards") and any(getattr(self, able)(s) for s in self.shards)

        return precondition(possible)(rule(data=st.data())(step))

    return decorate


class Waves(RuleBasedStateMachine):
    @initialize(
        samples=st.integers(1, 14),
        first=st.integers(0, 4),
        shards=st.integers(1, 5),
        lead=st.integers(0, 3),
        data=st.data(),
    )
    def begin(self, samples, first, shards, lead, data):
        self.lead = lead
        self.deaths = 0
        self.slots = data.draw(st.integers(1, shards))
        begins = [plan.first_wave(k, shards, first) for k in range(shards)]
        parts = [plan.shard_indices(samples, k, shards, first) for k in range(shards)]
        self.shards = [
            Shard(begin, begin + len(part)) for begin, part in zip(begins, parts, strict=True)
        ]

    def peers(self, number):
        return {
            k: Peer(s.alive, s.finished, s.ended, first=s.first)
            for k, s in enumerate(self.shards)
            if k != number
        }

    def late(self, number, wave):
        expected = [k for k in range(len(self.shards)) if k != number]
        first = self.shards[number].first
        return late(wave, self.lead, self.peers(number), expected, self.slots, first)

    def can_start(self, shard):
        slots = self.slots - sum(s.alive for s in self.shards)
        return not shard.alive and not shard.done and slots > 0

    def can_load(self, shard):
        return shard.alive and shard.finished == LOADING

    def can_work(self, shard):
        idle = shard.alive and shard.wave is None and 0 <= shard.finished < shard.waves
        return idle and not self.late(self.shards.index(shard), shard.finished)

    def can_finish(self, shard):
        return shard.alive and shard.wave is not None

    def can_leave(self, shard):
        return shard.alive and shard.wave is None and shard.finished == shard.waves

    @only("can_start")
    def start(self, shard):
        """A process starts, for the first time or as a retry."""
        shard.alive, shard.ended, shard.level = True, False, False
        shard.finished, shard.wave = LOADING, None

    @only("can_load")
    def load(self, shard):
        shard.finished = shard.first
        # who is ready before any wave that it has work in has begun starts level
        shard.level = all(
            s.finished <= max(s.first, shard.first) and (s.wave is None or s.wave < shard.first)
            for s in self.shards
            if s.alive
        )

    @only("can_work")
    def work(self, shard):
        for peer in self.shards:
            if peer is not shard and peer.alive and peer.level:
                assert peer.finished >= shard.finished - self.lead, "left a level peer behind"
        shard.wave = shard.finished
        # who has caught up is level from now on
        front = max(s.finished for s in self.shards if s.alive)
        shard.level = shard.level or shard.finished >= front - self.lead

    @only("can_finish")
    def finish(self, shard):
        shard.finished, shard.wave = shard.wave + 1, None

    @only("can_leave")
    def leave(self, shard):
        shard.alive, shard.ended, shard.done = False, True, True

    @only("can_die")
    def die(self, shard):
        self.deaths += 1
        shard.alive, shard.ended, shard.wave = False, True, None

    def can_die(self, shard):
        # now and then, or nothing would ever get far
        return shard.alive and self.deaths < 4

    @precondition(lambda self: all(shard.done for shard in self.shards))
    @rule()
    def rest(self):
        """Everything is done."""

    @precondition(lambda self: hasattr(self, "shards"))
    @invariant()
    def no_level_shard_is_left_behind(self):
        for one in self.shards:
            for other in self.shards:
                if one.alive and other.alive and other.level and other.finished < other.waves:
                    assert one.finished - max(other.finished, 0) <= self.lead + 1

    @precondition(lambda self: hasattr(self, "shards"))
    @invariant()
    def no_deadlock(self):
        """Somebody can always move, without anybody dying and without any timeout."""
        assert (
            all(shard.done for shard in self.shards)
            or any(map(self.can_start, self.shards))
            or any(map(self.can_load, self.shards))
            or any(map(self.can_finish, self.shards))
            or any(map(self.can_leave, self.shards))
            or any(map(self.can_work, self.shards))
        )


TestWaves = Waves.TestCase
TestWaves.settings = settings(max_examples=200, stateful_step_count=80)


def test_the_rule_by_hand():
    peers = {1: Peer(True, 3), 2: Peer(True, 2), 3: Peer(False, 0), 4: Peer(True, 0)}
    # 4 catches up, 3 is dead, 2 is a wave behind
    assert late(3, 0, peers, [1, 2, 3, 4], 5) == {2}
    assert late(3, 1, peers, [1, 2, 3, 4], 5) == set()
    assert late(1, 0, peers, [1, 2, 3, 4], 5) == {4}
    loading = {1: Peer(True), 2: Peer(False), 3: Peer(False, 2, ended=True)}
    assert late(0, 0, loading, [1, 2, 3], 4) == {1, 2}
    assert late(0, 0, loading, [1, 3], 4) == {1}
    assert late(0, 0, loading, [1, 2, 3], 3) == {1}


def test_a_shard_that_begins_with_the_second_wave_is_waited_for_there():
    peers = {1: Peer(True, first=1), 2: Peer(False, first=1), 3: Peer(True, 1, first=1)}
    assert late(0, 0, peers, [1, 2], 4) == set()
    assert late(1, 0, peers, [1, 2], 4) == late(1, 2, peers, [1, 2], 4) == {1, 2}
    assert late(1, 0, peers, [1, 2], 3) == {1}
    assert late(2, 0, peers, [1, 2], 4) == {3}
    # it waits itself for those that begin before it, which nobody else does any more
    earlier = {1: Peer(True), 2: Peer(False), 3: Peer(True, 1)}
    assert late(1, 0, earlier, [1, 2], 4, first=1) == {1, 2}
    assert late(1, 0, earlier, [1, 2], 4, first=0) == set()
