"""Shards, waves, seeds and keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep import plan, records
from lockstep.records import Sample

counts = st.integers(0, 2000)
shard_counts = st.integers(1, 64)


@given(counts, shard_counts, counts)
def test_shards_partition_the_samples(samples, shards, first):
    parts = [plan.shard_indices(samples, k, shards, first) for k in range(shards)]
    assert sorted(i for part in parts for i in part) == list(range(samples))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(1, 16))
def test_waves_go_on_from_category_to_category(sizes, shards):
    found = {}
    categories = dict(zip("abcdef", sizes, strict=False))
    for category, samples in categories.items():
        first = plan.place(categories, category)
        waves = plan.wave_count(samples, shards, first)
        for shard in range(shards):
            begin = plan.first_wave(shard, shards, first)
            part = plan.shard_indices(samples, shard, shards, first)
            assert not part or begin + len(part) <= waves
            # the first wave is the one that the last category may have left unfinished
            for wave, index in enumerate(part, first // shards + begin):
                found[wave, shard] = first + index
    places = range(sum(sizes))
    assert found == {(place // shards, place % shards): place for place in places}


@given(shard_counts, st.integers(1, 8))
def test_each_shard_of_edits_is_judged_once(judges, together):
    parts = [plan.edit_shards(j, together) for j in range(judges)]
    assert [k for part in parts for k in part] == list(range(judges * together))


def test_fifty_samples_on_six_devices():
    assert [len(plan.shard_indices(50, k, 6)) for k in range(6)] == [9, 9, 8, 8, 8, 8]
    assert plan.wave_count(50, 6) == 9
    assert plan.wave_count(50, 6, first=50) == 9
    assert plan.wave_count(50, 6, first=53) == 10
    assert plan.wave_count(270, 6) == 45


def test_assignment_names_each_device_and_its_first_samples():
    table = plan.assignment(270, [f"gpu{k}" for k in range(6)]).splitlines()
    assert table[0] == "gpu0    45 samples → [0, 6, 12, 18, 24, … +40 more]"
    assert len(table) == 6
    assert plan.assignment(1, ["cpu0", "cpu1"]).splitlines() == [
        "cpu0     1 sample → [0]",
        "cpu1     0 samples → []",
    ]
    assert plan.assignment(3, ["cpu0", "cpu1"], first=5).splitlines() == [
        "cpu0     1 sample → [1]",
        "cpu1     2 samples → [0, 2]",
    ]


@given(st.integers(0, 2**31), st.text(max_size=30))
def test_a_seed_is_its_own_and_never_the_sources(base, sample_id):
    seed = plan.sample_seed(base, sample_id)
    assert 0 <= seed < 2**48
    assert plan.sample_seed(base, sample_id, source_seed=seed) != seed
    assert plan.sample_seed(base, sample_id, source_seed=seed + 1) == seed


def test_seeds_stay_what_they_are():
    # results of earlier versions depend on them
    assert plan.sample_seed(0, "00000_物理_easy", 42) == GOLDEN_SEED
    assert len({plan.sample_seed(0, f"{i}") for i in range(1000)}) == 1000


def test_the_edit_key_covers_what_decides_pixels_and_nothing_else(sample: Sample):
    editor = {"model": "m", "steps": 50}
    key = records.edit_key(sample, editor, 1)
    assert key == records.edit_key(
        sample.model_copy(update={"rationale": "x", "index": 9}), editor, 1
    )
    changed = [
        records.edit_key(sample.model_copy(update={"instruction": "x"}), editor, 1),
        records.edit_key(sample.model_copy(update={"image_sha256": "1" * 64}), editor, 1),
        records.edit_key(sample, {**editor, "steps": 4}, 1),
        records.edit_key(sample, editor, 2),
    ]
    assert len({key, *changed}) == 5


@pytest.mark.parametrize(
    ("concurrency", "shards", "each"), [(16, 1, 16), (16, 6, 2), (16, 16, 1), (2, 6, 1)]
)
def test_the_jobs_of_a_category_share_the_requests(concurrency, shards, each):
    assert plan.requests_at_a_time(concurrency, shards) == each


def test_the_score_key_covers_what_decides_a_reply_and_nothing_else(sample: Sample):
    judge, asked, sampling = {"model": "m"}, {"prompt": "p"}, {"seed": 1}
    key = records.score_key(sample, "p", judge, asked)
    # what is told of it stands in the prompt
    retold = sample.model_copy(update={"instruction": "x", "rationale": "x", "index": 9})
    assert records.score_key(retold, "p", judge, asked) == key
    changed = [
        records.score_key(sample.model_copy(update={"image_sha256": "1" * 64}), "p", judge, asked),
        records.score_key(sample, "q", judge, asked),
        records.score_key(sample, "p", {"model": "n"}, asked),
        records.score_key(sample, "p", judge, {"prompt": "q"}),
        records.score_key(sample, "p", judge, asked, sampling),
        records.score_key(sample, "p", judge, asked, {"seed": 2}),
    ]
    assert len({key, *changed}) == 7


GOLDEN_SEED = 21464901986347
