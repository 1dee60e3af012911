"""How well devices kept step, from hand-made records with known answers."""

import json
import random
import re
from pathlib import Path

import pytest

from lockstep import records
from lockstep.config.run import Config
from lockstep.figures import drift, tables
from lockstep.records import EditRecord, Telemetry
from lockstep.report import plots
from lockstep.report.write import write_report
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT

T0 = 1_800_000_000.0


def edit(device, wave, started, seconds, category="physical", **fields):
    """Return the record of an edit that began `started` seconds after T0."""
    given = {
        "id": f"{category}-{abs(hash(device))}-{wave}",
        "category": category,
        "key": "k",
        "status": "ok",
        "seed": 1,
        "wave": wave,
        "shard": 0,
        "device": device,
        "run": "a",
        "started": T0 + started,
        "edit_seconds": seconds,
    }
    return EditRecord(**{**given, **fields})


def lockstep_run():
    """Two devices, three waves; gpu1 takes 3 s for each edit, gpu0 2 s and 4 s in the last.

    gpu0 loads for 10 s and waits 2 s for gpu1, which loads for 12 s; both start at 12 s.
    """
    return [
        edit("gpu0", 0, 12, 2, wait_seconds=2, load_seconds=10),
        edit("gpu1", 0, 12, 3, wait_seconds=0, load_seconds=12),
        edit("gpu0", 1, 15, 2, wait_seconds=1, load_seconds=10),
        edit("gpu1", 1, 15, 3, wait_seconds=0, load_seconds=12),
        edit("gpu0", 2, 18, 4, wait_seconds=1, load_seconds=10),
        edit("gpu1", 2, 18, 3, wait_seconds=0, load_seconds=12),
    ]


def curve(measured):
    return [(point["seconds"], point["images"]) for point in measured["curve"]]


def test_times_are_summed_by_device_and_a_job_loads_once():
    measured = drift.measure(lockstep_run(), 0.1)
    assert measured["devices"] == {
        "gpu0": {"work": 8, "wait": 4, "load": 10, "waited": pytest.approx(4 / 22)},
        "gpu1": {"work": 9, "wait": 0, "load": 12, "waited": 0},
    }
    assert measured["seconds"] == 22
    assert (measured["edits"], measured["other_runs"]) == (6, 0)


def test_the_wait_for_loading_is_told_apart_from_later_waits():
    cost = drift.measure(lockstep_run(), 0.1)["cost"]
    assert cost == {
        "first_wave": pytest.approx(2 / 17),
        "later_waves": pytest.approx(2 / 17),
        "total": pytest.approx(4 / 17),
    }


def test_a_device_that_begins_with_the_second_wave_waits_for_loading_there():
    begins = [edit for edit in lockstep_run() if (edit.device, edit.wave) != ("gpu0", 0)]
    cost = drift.measure(begins, 0.1)["cost"]
    assert cost == {key: pytest.approx(1 / 15) for key in ("first_wave", "later_waves")} | {
        "total": pytest.approx(2 / 15)
    }


def test_each_second_of_a_device_is_in_one_block():
    timeline = drift.measure(lockstep_run(), 0.1)["timeline"]
    own = [
        (b["kind"], b["start"], b["seconds"], b["wave"]) for b in timeline if b["device"] == "gpu0"
    ]
    assert own == [
        ("load", 0, 10, None),
        ("wait", 10, 2, 0),
        ("work", 12, 2, 0),
        ("wait", 14, 1, 1),
        ("work", 15, 2, 1),
        ("wait", 17, 1, 2),
        ("work", 18, 4, 2),
    ]
    assert {b["category"] for b in timeline} == {"physical"}


def test_drift_in_lockstep_is_one_image_until_the_slowest_has_finished_too():
    measured = drift.measure(lockstep_run(), 0.1)
    # gpu0 ends at 14 and 17, gpu1 at 15, 18 and, with nothing left to do, 21
    assert curve(measured) == [(12, 0), (14, 1), (15, 0), (17, 1), (18, 0)]
    assert (measured["largest_drift"], measured["drift"]) == (1, {"physical": 1})


def free_run(began=0, category="physical"):
    """Four images for each of two devices that wait for nothing; gpu1 takes three times as long."""
    edits = [edit("gpu0", wave, began + wave, 1, category) for wave in range(4)]
    return edits + [edit("gpu1", wave, began + 3 * wave, 3, category) for wave in range(4)]


def test_drift_of_devices_that_run_free_grows_until_one_has_nothing_left():
    measured = drift.measure(free_run(), 0.1)
    # at 3 s both end an image, 3 − 1; at 4 s gpu0 is through and gpu1 is alone
    assert curve(measured) == [(0, 0), (1, 1), (2, 2), (4, 0)]
    assert measured["largest_drift"] == 2


def test_drift_is_counted_in_each_category_by_itself():
    measured = drift.measure([*free_run(100, "causal"), *lockstep_run()], 0.1)
    assert measured["drift"] == {"physical": 1, "causal": 2}
    assert measured["largest_drift"] == 2
    begins = [p["category"] for p in measured["curve"]]
    assert begins == ["physical"] * 5 + ["causal"] * 4


def test_a_sample_from_the_cache_makes_no_drift_that_is_not_certain():
    waves = [edit("gpu0", wave, 10 * wave, 9) for wave in range(5)]
    # gpu1 found the first three of its five in the cache, as edits of an older run
    old = [edit("gpu1", wave, wave - 5000, 9, run="old", cached=True) for wave in range(3)]
    new = [edit("gpu1", wave, 10 * wave, 9.5) for wave in (3, 4)]
    measured = drift.measure([*waves, *old, *new], 0.1)
    assert measured["largest_drift"] == 1
    assert curve(measured) == [(0, 0), (39, 1), (39.5, 0)]
    assert (measured["edits"], measured["other_runs"]) == (7, 3)


def test_what_was_in_the_cache_counts_as_finished_once_it_is_passed():
    # gpu0 found its first three in the cache and waited for nobody, gpu1 edits all
    edits = [edit("gpu0", wave, wave, 1) for wave in (3, 6)]
    edits += [edit("gpu1", wave, 10 * wave, 10) for wave in range(7)]
    measured = drift.measure(edits, 0.1)
    assert curve(measured) == [(0, 0), (4, 4), (7, 0)]


def test_a_gap_of_cached_samples_is_no_drift_below_zero():
    edits = [edit(f"gpu{k}", wave, 10 * wave, 9) for wave in (0, 1, 5) for k in range(2)]
    assert curve(drift.measure(edits, 0.1)) == [(0, 0)]


def test_the_last_of_a_wave_is_counted_with_its_lag():
    stragglers = drift.measure(lockstep_run(), 0.1)["stragglers"]
    assert (stragglers["gpu0"]["waves"], stragglers["gpu0"]["last"]) == (3, 1)
    assert (stragglers["gpu1"]["waves"], stragglers["gpu1"]["last"]) == (3, 2)
    assert (stragglers["gpu0"]["lag"], stragglers["gpu1"]["lag"]) == (1, 1)
    assert stragglers["gpu0"]["edit_seconds"] == pytest.approx(8 / 3, abs=1e-4)


def test_the_lag_is_behind_the_mean_of_the_others():
    wave = [edit("gpu0", 0, 0, 1), edit("gpu1", 0, 0, 2), edit("gpu2", 0, 0, 5)]
    stragglers = drift.measure(wave, 0.1)["stragglers"]
    assert (stragglers["gpu2"]["last"], stragglers["gpu2"]["lag"]) == (1, 3.5)
    assert (stragglers["gpu0"]["last"], stragglers["gpu0"]["lag"]) == (0, None)


def test_where_all_end_at_once_nobody_is_last():
    stragglers = drift.measure([edit(f"gpu{k}", 0, 0, 2) for k in range(3)], 0.1)["stragglers"]
    assert [row["last"] for row in stragglers.values()] == [0, 0, 0]
    assert [row["waves"] for row in stragglers.values()] == [1, 1, 1]


def test_heat_and_throttling_stand_beside_the_straggler():
    def telemetry(temperature, *throttled):
        return Telemetry(
            utilisation=99, memory=1, temperature=temperature, power=700, throttled=throttled
        )

    rows = drift.measure(
        [
            edit("gpu0", 0, 0, 1, telemetry=telemetry(61)),
            edit("gpu0", 1, 1, 1, telemetry=telemetry(87, "sw_power_cap", "hw_slowdown")),
            edit("gpu0", 2, 2, 1, telemetry=telemetry(70, "sw_power_cap")),
            edit("cpu0", 0, 0, 1),
        ],
        0.1,
    )["stragglers"]
    assert rows["gpu0"]["temperature"] == 87
    assert rows["gpu0"]["throttled"] == {"hw_slowdown": 1, "sw_power_cap": 2}
    assert (rows["cpu0"]["temperature"], rows["cpu0"]["throttled"]) == (None, {})


def three_devices(slow):
    """Return three waves of three devices, where gpu2 takes `slow` seconds and the others 2 s."""
    return [
        edit(f"gpu{k}", wave, 10 * wave, slow if k == 2 else 2)
        for wave in range(3)
        for k in range(3)
    ]


@pytest.mark.parametrize(
    ("seconds", "margin", "slow"),
    [(2.5, 0.1, {"gpu2": 0.25}), (2.5, 0.3, {}), (2.1, 0.1, {}), (2.1, 0.04, {"gpu2": 0.05})],
)
def test_a_device_is_slow_above_the_margin(seconds, margin, slow):
    assert drift.measure(three_devices(seconds), margin)["slow"] == slow


def test_a_device_is_compared_with_its_peers_on_the_same_category():
    # gpu2 joined for the category with the large images
    edits = [edit(f"gpu{k}", w, 10 * w, 1) for k in range(2) for w in range(3)]
    edits += [edit(f"gpu{k}", w, 100 + 10 * w, 5, "causal") for k in range(3) for w in range(3)]
    assert drift.measure(edits, 0.1)["slow"] == {}


def test_of_several_runs_the_one_with_most_edits_counts_in_each_category():
    edits = lockstep_run()
    edits += [edit("gpu0", 3, 9000, 50, run="b", wait_seconds=9)]
    edits += [edit("gpu0", 0, 9100, 4, "causal", run="b", wait_seconds=1)]
    measured = drift.measure(edits, 0.1)
    assert measured["runs"] == {"physical": "a", "causal": "b"}
    assert (measured["edits"], measured["other_runs"]) == (7, 1)
    assert measured["devices"]["gpu0"]["work"] == 12
    # run b follows run a at once, beginning with its wait
    (wait,) = [b for b in measured["timeline"] if b["category"] == "causal" and b["kind"] == "wait"]
    assert (wait["start"], measured["seconds"]) == (22, 27)


def test_of_equal_runs_the_later_counts_whatever_the_order():
    edits = [edit("gpu0", 0, 500, 1, run="new"), edit("gpu0", 1, 5, 1, run="old")]
    assert drift.measure(edits, 0.1)["runs"] == {"physical": "new"}
    assert drift.measure(edits[::-1], 0.1)["runs"] == {"physical": "new"}


def test_records_of_older_versions_are_one_run():
    edits = [r.model_copy(update={"run": None, "load_seconds": None}) for r in lockstep_run()]
    measured = drift.measure(edits, 0.1)
    assert (measured["runs"], measured["edits"]) == ({"physical": None}, 6)
    assert measured["devices"]["gpu0"]["load"] == 0


def test_a_run_read_from_the_cache_measures_the_same():
    cached = [r.model_copy(update={"cached": True}) for r in lockstep_run()]
    assert drift.measure(cached, 0.1) == drift.measure(lockstep_run(), 0.1)


def test_the_order_of_the_records_does_not_matter():
    edits = three_devices(2.1) + lockstep_run()
    shuffled = random.Random(0).sample(edits, len(edits))
    assert drift.measure(shuffled, 0.1) == drift.measure(edits, 0.1)


def test_one_device_keeps_step_with_itself():
    alone = [edit("gpu0", wave, 2 * wave, 2) for wave in range(3)]
    measured = drift.measure(alone, 0.1)
    assert measured["largest_drift"] == 0
    assert measured["stragglers"]["gpu0"]["waves"] == 0
    assert measured["stragglers"]["gpu0"]["last"] == 0
    assert measured["slow"] == {}
    assert measured["cost"]["total"] == 0


def test_without_records_there_is_nothing_to_tell():
    measured = drift.measure([], 0.1)
    assert (measured["edits"], measured["seconds"], measured["largest_drift"]) == (0, 0, 0)
    assert measured["cost"] == {"first_wave": None, "later_waves": None, "total": None}
    assert measured["devices"] == measured["stragglers"] == measured["slow"] == {}
    assert measured["timeline"] == measured["curve"] == []


def test_records_without_times_are_left_out():
    untimed = edit("gpu0", 3, 0, 1).model_copy(update={"started": None})
    unended = edit("gpu1", 3, 21, 1).model_copy(update={"edit_seconds": None})
    measured = drift.measure([*lockstep_run(), untimed, unended], 0.1)
    assert measured == drift.measure(lockstep_run(), 0.1)


def test_a_failed_edit_is_work_but_makes_no_device_look_fast():
    edits = three_devices(2)
    edits += [edit("gpu0", 3, 30, 0.1, status="edit_failed", error="out of memory")]
    measured = drift.measure(edits, 0.01)
    assert measured["devices"]["gpu0"]["work"] == 6.1
    assert measured["edits"] == 10
    assert measured["stragglers"]["gpu0"]["edit_seconds"] == 2
    assert measured["slow"] == {}


def test_a_device_whose_edits_all_failed_is_neither_slow_nor_a_peer():
    failed = [
        edit("gpu3", wave, 10 * wave, 0.1, status="edit_failed", error="out of memory")
        for wave in range(3)
    ]
    measured = drift.measure(three_devices(2.5) + failed, 0.1)
    assert measured["slow"] == {"gpu2": 0.25}
    assert measured["stragglers"]["gpu3"]["edit_seconds"] is None


def test_devices_are_sorted_by_number():
    edits = [edit(f"gpu{k}", 0, 0, 1) for k in (10, 2, 0)]
    assert list(drift.measure(edits, 0.1)["devices"]) == ["gpu0", "gpu2", "gpu10"]


def test_the_measure_is_json():
    measured = drift.measure(lockstep_run(), 0.1)
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def noisy(devices, waves):
    rng = random.Random(devices)
    edits = []
    at = [0.0] * devices
    for wave in range(waves):
        start = max(at)
        for k in range(devices):
            seconds = rng.gauss(2, 0.1)
            waited = round(start - at[k], 4)
            edits.append(edit(f"gpu{k}", wave, start, seconds, wait_seconds=waited))
            at[k] = start + seconds
    return edits


@pytest.mark.parametrize("draw", [plots.timeline, plots.drift_curve])
def test_a_plot_is_the_same_each_time_and_fits_the_page(draw):
    measured = drift.measure(lockstep_run(), 0.1)
    svg = draw("editor", measured)
    assert svg == draw("editor", measured)
    assert svg != draw("editor", drift.measure(three_devices(5), 0.1))
    assert "currentColor" in svg
    assert plots.INK not in svg
    # neither a fixed size nor a style sheet, date or id that would reach the rest of the page
    assert not re.search(r"<style|<metadata|<!DOCTYPE|<svg[^>]* (width|height)=|20\d\d-", svg)
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))


def test_the_plots_of_a_page_share_no_id():
    measured = drift.measure(lockstep_run(), 0.1)
    svgs = [draw(e, measured) for draw in (plots.timeline, plots.drift_curve) for e in "ab"]
    ids = [name for svg in svgs for name in re.findall(r' id="([^"]+)"', svg)]
    assert ids
    assert len(ids) == len(set(ids))


def test_plots_of_many_blocks_stay_light():
    few = drift.measure(noisy(6, 270), 0.1)
    many = drift.measure(noisy(64, 100), 0.1)
    assert len(few["timeline"]) > plots.BLOCKS
    assert len(plots.timeline("e", few)) < 200_000
    assert len(plots.timeline("e", many)) < 400_000
    long = drift.measure(noisy(2, 2000), 0.1)
    assert len(long["curve"]) > plots.POINTS
    for measured in (few, many, long):
        assert len(plots.drift_curve("e", measured)) < 60_000


def test_bins_hold_the_time_of_their_blocks():
    measured = drift.measure(noisy(6, 270), 0.1)
    names = list(measured["devices"])
    shapes = plots._binned(measured["timeline"], names, measured["seconds"])
    drawn = sum(-r.height / 0.8 * r.width for r in shapes["work"])
    worked = sum(times["work"] for times in measured["devices"].values())
    assert drawn == pytest.approx(worked, rel=1e-3)
    # one kind stands on the other
    tops = {(r.left, round(r.bottom)): r.bottom + r.height for r in shapes["work"]}
    stacked = [(r.bottom, tops[r.left, round(r.bottom)]) for r in shapes["wait"]]
    assert stacked
    assert all(bottom == pytest.approx(top) for bottom, top in stacked)


def test_a_hidden_peak_of_drift_is_drawn():
    free = [edit("gpu0", wave, 2 * wave, 2) for wave in range(2000)]
    free += [edit("gpu1", wave, 2 * wave, 2 + 0.1 * (wave % 2)) for wave in range(2000)]
    # one edit hangs for three waves and the next ones make up for it
    for offset in range(4):
        free[3000 + offset].started = T0 + 2000 + 6 + 0.3 * offset
        free[3000 + offset].edit_seconds = 0.3
    measured = drift.measure(free, 0.1)
    assert measured["largest_drift"] > 1
    times = [point["seconds"] for point in measured["curve"]]
    images = [point["images"] for point in measured["curve"]]
    assert len(times) > plots.POINTS
    step = measured["seconds"] / plots.POINTS
    seconds, most = plots._highest(plots.np.array(times), plots.np.array(images), step)
    assert max(most) == measured["largest_drift"]
    assert len(seconds) == len(most) <= plots.POINTS + 2


HOSTILE = '<script>alert("$x$")</script>&|'


def test_a_hostile_device_name_is_text(tmp_path, report):
    slow = [edit(HOSTILE, wave, 10 * wave, 9) for wave in range(2)]
    folder = report([*slow, *(edit("gpu1", wave, 10 * wave, 2) for wave in range(2))])
    page = (folder / "report.html").read_text(encoding="utf-8")
    # the page's own script is the only one
    assert page.count("<script") == 1
    # as text of the timeline, where a $ is no formula
    assert '>&lt;script&gt;alert("$x$")' in page
    # in the warning, two tables and both drawings of the timeline
    assert page.count("&lt;script&gt;alert(") == 5
    table = (folder / "report.md").read_text(encoding="utf-8")
    assert r'| &lt;script>alert("\$x\$")&lt;/script>&amp;\| |' in table


def test_the_report_holds_the_section(report):
    folder = report(three_devices(2.5))
    own = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    step = own["editors"]["small"]["lockstep"]
    assert step["slow"] == {"gpu2": 0.25}
    assert not step.keys() & {"timeline", "curve"}
    warning = "gpu2 is 25.0% slower than its peers"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert warning in page
    section = page[page.index('id="lockstep"') : page.index('id="settings"')]
    # timeline and drift, for a wide page and for a phone
    assert section.count("<svg") == 4
    assert warning in (folder / "report.md").read_text(encoding="utf-8")
    lines = (folder / "lockstep-small-timeline.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "device,kind,start,seconds,wave,category"
    assert len(lines) == 1 + 9
    assert lines[1] == "gpu0,work,0.0,2.0,0,physical"
    points = (folder / "lockstep-small-curve.csv").read_text(encoding="utf-8").splitlines()
    assert points[:2] == ["category,seconds,images", "physical,0.0,0"]


def test_a_report_of_even_devices_warns_of_nothing(report):
    folder = report(three_devices(2))
    assert "slower" not in (folder / "report.html").read_text(encoding="utf-8")
    assert "slower" not in (folder / "report.md").read_text(encoding="utf-8")


def test_an_editor_without_a_model_tells_nothing_of_its_devices(report):
    folder = report(three_devices(2.5), type="identity")
    own = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert own["editors"]["small"]["lockstep"]["slow"] == {}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "slower" not in page and "its times say nothing of the devices" in page
    assert "slower" not in (folder / "report.md").read_text(encoding="utf-8")


def test_a_report_without_times_says_so_and_draws_nothing(report):
    folder = report([edit("gpu0", 0, 0, 1).model_copy(update={"started": None})])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "No record tells when its edit was made." in page
    assert "<svg" not in page[page.index('id="lockstep"') : page.index('id="settings"')]


@pytest.fixture
def report(tmp_path):
    """Return a function that writes the report of edits of one editor and category."""

    def write(edits, **editor) -> Path:
        editor = editor or {"type": "diffusers", "model": "a/b"}
        settings = Config.model_validate(
            {
                "benchmark": {"path": "b", "categories": ("physical",)},
                "editors": ({"name": "small", **editor},),
                "judge": {"type": "qwen3_vl", "model": "Qwen/Qwen3-VL-8B-Instruct"},
            }
        )
        records.write_records(tmp_path / "rejected.jsonl", [])
        shards = [tmp_path / "shard-0.jsonl", tmp_path / "shard-1.jsonl"]
        records.write_records(shards[0], edits[::2])
        records.write_records(shards[1], edits[1::2])
        rubric = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")
        records.write_records(tmp_path / "manifest.jsonl", [])
        frame = tables.table(tmp_path / "manifest.jsonl", shards, [], rubric, tmp_path, {})
        records.write_text(tmp_path / "table.csv", tables.to_csv(frame))
        summary = tables.summary(frame, shards, [], rubric, 7.0)
        records.write_json(tmp_path / "summary.json", summary)
        write_report(
            settings,
            {"small": {"physical": tmp_path / "table.csv"}},
            {"small": {"physical": tmp_path / "summary.json"}},
            {"small": {"physical": shards}},
            tmp_path / "rejected.jsonl",
            {"anchors": [], "agreement": []},
            tmp_path / "report",
        )
        return tmp_path / "report"

    return write
