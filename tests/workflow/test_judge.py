"""The judge as the workflow runs it: controls, repetitions, rubrics."""

import json
import shutil

import pytest
from PIL import Image
from scipy.stats import pearsonr

from lockstep.records import read_manifest
from tests.conftest import ROOT
from tests.workflow.conftest import make

EDITOR = "control"


@pytest.fixture(scope="module")
def judged(tmp_path_factory, models):
    """Two categories of three samples, an editor that returns the source and one of its own."""
    workflow = make(tmp_path_factory.mktemp("judged") / "work", models, per_category=3)
    workflow.config["benchmark"]["categories"] = ["physical", "social"]
    workflow.config["editors"] = [{"name": EDITOR, "type": "identity"}]
    workflow.config["judge"]["swapped_instruction"] = True
    workflow.config["devices"]["device_ids"] = [0]
    (workflow.folder / "finished").mkdir()
    workflow.run("results/manifest/physical.jsonl")
    for manifest in (workflow.results / "manifest").glob("[ps]*.jsonl"):
        for number, sample in enumerate(read_manifest(manifest)):
            edit = Image.new("RGB", (96, 64), (80 * number, 0, 99))
            edit.save(workflow.folder / "finished" / f"{sample.id}.png")
    finished = {"name": "finished", "type": "precomputed", "folder": "finished"}
    workflow.config["editors"].append(finished)
    workflow.run()
    return workflow


def work(workflow):
    return {p: p.stat().st_mtime_ns for p in workflow.results.rglob("judgements/**/*.json")}


def test_the_report_tells_edits_from_controls(judged):
    report = judged.report()
    found = {(row["editor"], row["category"], row["control"]) for row in report["controls"]}
    names = ("physical", "social", "overall")
    swapped = {(e, c, "swapped") for e in (EDITOR, "finished") for c in names}
    assert found == swapped | {("finished", category, "identity") for category in names}
    for row in report["controls"]:
        assert 0 <= row["auc"] <= 1
        assert row["count"] == row["controls"] == (6 if row["category"] == "overall" else 3)
    (row,) = (
        r for r in report["controls"] if (r["category"], r["control"]) == ("overall", "identity")
    )
    edits, copies = (
        [record["score"] for record in judged.records("scores", editor=editor)]
        for editor in ("finished", EDITOR)
    )
    above = sum((edit > copy) + (edit == copy) / 2 for edit in edits for copy in copies)
    assert row["auc"] == pytest.approx(above / 36)
    text = (judged.results / "report" / "report.md").read_text(encoding="utf-8")
    assert f"| finished | overall | identity | {row['auc']:.2f} |" in text


def test_the_judge_and_the_rubric_stand_beside_every_score(judged):
    rows = judged.report()["editors"][EDITOR]["categories"]
    records = judged.records("scores", editor=EDITOR)
    assert len({record["rubric"] for record in records}) == 2
    for category, row in rows.items():
        own = [record for record in records if record["category"] == category]
        assert {record["rubric"] for record in own} == {row["rubric"]}
        (fingerprint,) = row["judges"]
        assert row["judges"][fingerprint]["judge"] == own[0]["judge"]
        table = (judged.results / EDITOR / category / "table.csv").read_text(encoding="utf-8")
        assert table.count(fingerprint) == 3
        page = (judged.results / "report" / "report.html").read_text(encoding="utf-8")
        assert row["rubric"][:12] in page and fingerprint in page
        expected = [record["expected_score"] for record in own]
        assert row["means"]["expected_score"] == pytest.approx(sum(expected) / 3)


def test_anchors_of_a_run_show_no_drift_of_the_same_judge(judged, tmp_path):
    workflow = judged.copy(tmp_path / "work")
    workflow.run("anchor_set")
    shutil.copytree(workflow.results / "anchor_set", workflow.folder / "anchors")
    workflow.config["judge"]["anchors"] = "anchors"
    before = work(workflow)
    plan = workflow.run("-n")
    assert "3 jobs: 1 anchors, 1 report, 1 all" in plan
    workflow.run()
    rows = workflow.report()["anchors"]
    assert [row["category"] for row in rows] == ["physical", "social", "overall"]
    assert [row["count"] for row in rows] == [6, 6, 12]
    assert all(row["largest"] == 0 and row["same_judge"] for row in rows)
    assert before.items() <= work(workflow).items()
    # the report says if it is another judge
    workflow.config["judge"]["mode"] = "score_only"
    workflow.run("results/anchors/drift.json")
    rows = json.loads((workflow.results / "anchors" / "drift.json").read_text())
    assert not any(row["same_judge"] for row in rows)


def test_human_scores_are_compared(judged, tmp_path):
    workflow = judged.copy(tmp_path / "work")
    records = workflow.records("scores", editor=EDITOR)
    ids = [record["id"] for record in records]
    given = [f"{name},{i},{EDITOR},{rater}" for i, name in enumerate(ids) for rater in "ab"]
    cast = [f"{name},{EDITOR},finished,{rater},leftvote" for name in ids for rater in "ab"]
    files = {
        "humans.csv": ["id,score,editor,rater", *given],
        "votes.csv": ["id,first,second,rater,human_vote", *cast],
    }
    for name, lines in files.items():
        (workflow.folder / name).write_text("\n".join(lines), encoding="utf-8")
    workflow.config["report"] = {"human_scores": list(files)}
    before = work(workflow)
    workflow.run()
    rows = workflow.report()["agreement"]
    assert [row["category"] for row in rows] == ["physical", "social", "overall"]
    assert rows[-1]["count"] == 6
    scores = [record["score"] for record in records]
    expected = pearsonr(scores, range(6)).statistic if len(set(scores)) > 1 else None
    assert rows[-1]["pearson"] == (expected and pytest.approx(expected))
    raters, votes = (workflow.report()[name][-1] for name in ("raters", "votes"))
    assert (raters["alpha_interval"], raters["shared"], raters["missing"]) == (1, 6, 0)
    assert (votes["raters_share"], votes["alpha_nominal"], votes["judged"]) == (1, None, 12)
    page = (workflow.results / "report" / "report.html").read_text(encoding="utf-8")
    assert "12 ratings of 6 edits, raters: 2" in page and "all equal" in page
    assert work(workflow) == before


def test_repetitions_keep_what_there_is_and_report_a_spread(judged, tmp_path):
    workflow = judged.copy(tmp_path / "work")
    workflow.config["judge"] |= {"repeats": 2, "temperature": 2.0, "swapped_instruction": False}
    target = f"results/{EDITOR}/physical/summary.json"
    workflow.run(target)
    before = work(workflow)
    records = workflow.records("scores", "physical", EDITOR)
    assert all(len(record["scores"]) == 2 for record in records)
    assert any(record["spread"] > 0 for record in records)
    workflow.config["judge"]["repeats"] = 3
    workflow.run(target)
    after = work(workflow)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 3
    spreads = [record["spread"] for record in workflow.records("scores", "physical", EDITOR)]
    summary = json.loads((workflow.folder / target).read_text(encoding="utf-8"))
    assert summary["means"]["spread"] == pytest.approx(sum(spreads) / 3)
    assert summary["means"]["swapped_score"] is None


def test_one_rubric_serves_all_categories(judged, tmp_path):
    workflow = judged.copy(tmp_path / "work")
    workflow.config["judge"]["rubrics"] = str(ROOT / "config" / "rubrics" / "viescore.yaml")
    plan = workflow.run("-n")
    assert " edit" not in plan.split("jobs: ")[1].splitlines()[0]
    paths = [f"results/{EDITOR}/{category}/summary.json" for category in ("physical", "social")]
    workflow.run(*paths)
    rows = [json.loads((workflow.folder / path).read_text(encoding="utf-8")) for path in paths]
    assert rows[0]["rubric"] == rows[1]["rubric"]
    assert {"editing_success", "restraint"} < set(rows[0]["criteria"])


def test_values_combined_otherwise_are_not_judged_anew(judged, tmp_path):
    workflow = judged.copy(tmp_path / "work")
    rubrics = workflow.folder / "rubrics"
    shutil.copytree(ROOT / "config" / "rubrics", rubrics)
    path = rubrics / "physical.yaml"
    text = path.read_text(encoding="utf-8").replace("weight: 4", "weight: 40")
    path.write_text(text.replace("below: 5, score: 3", "below: 10, score: 2"), encoding="utf-8")
    workflow.config["judge"]["rubrics"] = "rubrics"
    before = work(workflow)
    workflow.run("physical")
    assert work(workflow) == before
    changed = workflow.records("scores", "physical", EDITOR)
    assert all(record["cached"] for record in changed)
    assert all(record["score"] <= 2 for record in changed)
    assert any(record["score"] > 2 for record in judged.records("scores", "physical", EDITOR))


def test_a_judge_on_several_devices_judges_what_all_of_them_edited_and_nothing_anew(
    judged, tmp_path
):
    workflow = judged.copy(tmp_path / "work")
    workflow.config["devices"]["device_ids"] = [0, 1]
    workflow.config["judge"]["gpus_per_judge"] = 2
    folder = workflow.results / EDITOR / "physical"
    before, table = work(workflow), (folder / "table.csv").read_bytes()
    workflow.run("physical")
    assert work(workflow) == before
    assert {path.name for path in folder.glob("edits/*")} == {
        "shard-0-of-2.jsonl",
        "shard-1-of-2.jsonl",
    }
    assert [path.name for path in folder.glob("scores/*")] == ["shard-0-of-1.jsonl"]
    assert (folder / "table.csv").read_bytes() == table
    shutil.rmtree(folder / "judgements")
    workflow.run("physical", "--forcerun", "score")
    log = workflow.logs(f"score/{EDITOR}/physical/shard-0-of-1.log")
    assert "loaded Qwen3VLForConditionalGeneration" in log
    assert (folder / "table.csv").read_bytes() == table
    refused = workflow.run("-n", "--resources", "gpu=1", check=False)
    assert "--resources gpu=1: expected at least 2 (judge.gpus_per_judge)" in refused
    workflow.config["judge"]["gpus_per_judge"] = 3
    assert "number of devices, found 3 with 2 devices" in workflow.run("-n", check=False)


def test_finished_replies_are_scored_without_a_model(judged, tmp_path):
    workflow = judged.copy(tmp_path / "work")
    replies = workflow.folder / "replies"
    for editor in (EDITOR, "finished"):
        for record in workflow.records("scores", editor=editor):
            path = replies / editor / f"{record['id']}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(record["reply"], encoding="utf-8")
    (replies / EDITOR / "00000_物理_easy.txt").write_text("I give it 7/10.", encoding="utf-8")
    rubrics = workflow.config["judge"]["rubrics"]
    judge = {"type": "precomputed", "folder": "replies", "rubrics": rubrics}
    workflow.config["judge"] = judge
    workflow.run()
    rows = workflow.report()["editors"]
    assert rows[EDITOR]["categories"]["physical"]["status"] == {"ok": 2, "judge_failed": 1}
    expected = [r["score"] for r in judged.records("scores", editor="finished")]
    assert [r["score"] for r in workflow.records("scores", editor="finished")] == expected
    loaded = (workflow.results / "logs" / "score").rglob("*.log")
    assert not any("loaded" in path.read_text(encoding="utf-8") for path in loaded)
    assert json.dumps(workflow.report()["random_weights"]) == "[]"
