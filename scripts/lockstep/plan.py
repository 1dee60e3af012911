"""Who does what: shards, waves, seeds and item keys, as pure functions."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import takewhile

SEED_BITS = 48
"""Seeds stay exact in JSON and in every generator."""


def place(counts: Mapping[str, int], category: str) -> int:
    """Return the place of a category's first sample among those of all categories.

    Args:
        counts: samples of each category, in the order in which they are edited.
    """
    return sum(counts[earlier] for earlier in takewhile(category.__ne__, counts))


def shard_indices(samples: int, shard: int, shards: int, first: int = 0) -> range:
    """Return the indices of a shard's samples in their category, in the order of its waves.

    The sample at place p among those of all categories goes to shard p mod n, so a category begins
    on the device after the one where the last has ended, and no device stands still meanwhile.

    Args:
        samples: samples of the category.
        first: place of its first sample.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} of {shards}")
    return range((shard - first) % shards, samples, shards)


def first_wave(shard: int, shards: int, first: int) -> int:
    """Return the wave of a shard's first sample: 1 where wave 0 still goes to the last category."""
    return int(shard < first % shards)


def wave_count(samples: int, shards: int, first: int = 0) -> int:
    """Return the number of waves that all shards of a category need together."""
    return math.ceil((first % shards + samples) / shards)


def assignment(samples: int, devices: Sequence[str], first: int = 0, few: int = 5) -> str:
    """Return the table of device → number of samples and first few indices in the category."""
    width = max(map(len, devices))
    lines = []
    for shard, device in enumerate(devices):
        indices = shard_indices(samples, shard, len(devices), first)
        shown = ", ".join(map(str, indices[:few]))
        more = f", … +{len(indices) - few} more" if len(indices) > few else ""
        noun = "sample" if len(indices) == 1 else "samples"
        lines.append(f"{device:<{width}}  {len(indices):>4} {noun} → [{shown}{more}]")
    return "\n".join(lines)


def sample_seed(base: int, sample_id: str, source_seed: int | None = None, number: int = 0) -> int:
    """Derive a sample's seed from the base seed and its id, 0 ≤ seed < 2**48.

    It depends on neither order nor number of devices, and never equals the seed that the
    source image was generated with, which can break an edit.

    Args:
        number: which of the sample's seeds, from 0.
    """
    # the first seed is the one that a sample with a single seed has
    start, attempt = f"{base}+{number}" if number else str(base), 0
    while True:
        digest = hashlib.sha256(f"{start}/{sample_id}/{attempt}".encode()).digest()
        seed = int.from_bytes(digest[: SEED_BITS // 8], "big")
        if seed != source_seed:
            return seed
        attempt += 1


def requests_at_a_time(concurrency: int, shards: int) -> int:
    """Return how many requests one job may have at a time, so that all shards can ask."""
    return max(1, concurrency // shards)


def share(editor: int, judge: int) -> int:
    """Return how many shards of edits one shard of scores judges.

    Both have the same devices, of which a judge that needs fewer leaves some idle.

    Args:
        editor: devices of one job that edits.
        judge: devices of one judge.
    """
    return math.lcm(editor, judge) // editor


def edit_shards(shard: int, share: int) -> range:
    """Return the shards of edits that a shard of scores judges.

    Args:
        share: how many.
    """
    return range(shard * share, (shard + 1) * share)


def shard_file(shard: int, shards: int) -> str:
    """Return the name of a shard's file of records."""
    return f"shard-{shard}-of-{shards}.jsonl"


def shards_of(name: str) -> int:
    """Return the number of shards that `shard_file` was given for a name."""
    return int(name.removesuffix(".jsonl").rpartition("-")[2])


FEW_EDITORS = 4
"""Editors up to which all pairs are compared, in one round."""

PAIR_ROUNDS = 4
"""Rounds in which pairs of more editors are chosen."""


def pair_rounds(editors: int) -> int:
    """Return the number of rounds in which editors are compared in pairs."""
    return 1 if editors <= FEW_EDITORS else PAIR_ROUNDS


def pairs_of_shard(places: Sequence[int], shard: int, shards: int) -> list[int]:
    """Return the numbers of the pairs that a shard judges, those of one sample together.

    Args:
        places: of each pair's sample in its category.
    """
    own = (number for number, place in enumerate(places) if place % shards == shard)
    return sorted(own, key=lambda number: places[number])
