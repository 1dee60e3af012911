"""A published benchmark's own numbers, from its file to the report, through the whole workflow."""

import csv
import io
import json
import tarfile

import pytest
from jsonschema import Draft202012Validator

from tests import formats, imgedit
from tests.conftest import ROOT
from tests.workflow.conftest import Workflow

MODELS = ("UniWorld-V1", "OmniGen2")
CRITERIA = ("instruction_following", "seamlessness", "detail_preservation")
OF_EXTRACT = ("instruction_following", "mask_precision", "visual_quality")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """ImgEdit's basic test with its own counts of types, and scores of two published models."""
    folder = tmp_path_factory.mktemp("imgedit") / "work"
    folder.mkdir()
    write_benchmark(folder)
    write_scores(folder / "scores.csv")
    workflow = Workflow(
        folder,
        {
            "results": "results",
            "benchmark": {"path": "basic_edit.json", "images": "images.tar"},
            "editors": [{"name": name, "type": "identity"} for name in MODELS],
            "judge": {
                "type": "precomputed",
                "scores": "scores.csv",
                "rubrics": str(ROOT / "config" / "rubrics" / "imgedit"),
            },
            "devices": {"accelerator": "cpu", "device_ids": [0]},
        },
    )
    workflow.run()
    return workflow


def write_benchmark(folder):
    items = {}
    with tarfile.open(folder / "images.tar", "w") as tar:
        for category, count in imgedit.COUNTS.items():
            for number in range(count):
                name = f"{category}/{number}.png"
                data = formats.draw(len(items), size=(32, 32))
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
                key = f"{category}-{number}"
                items[key] = {"id": name, "prompt": f"Do {key}.", "edit_type": category}
    (folder / "basic_edit.json").write_text(json.dumps(items), encoding="utf-8")


def write_scores(path):
    names = list(dict.fromkeys((*CRITERIA, *OF_EXTRACT)))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["editor", "category", "id", *names])
        writer.writeheader()
        for model in MODELS:
            for (category, count), mean in zip(
                imgedit.COUNTS.items(), imgedit.ROWS[model], strict=False
            ):
                own = OF_EXTRACT if category == "extract" else CRITERIA
                for number, values in enumerate(imgedit.values(mean, count)):
                    row = {"editor": model, "category": category, "id": f"{category}-{number}"}
                    writer.writerow(row | dict(zip(own, values, strict=True)))


def test_the_published_rows_come_out_with_the_benchmarks_own_counts(run):
    numbers = json.loads((run.results / "report" / "protocol.json").read_text(encoding="utf-8"))
    for model in MODELS:
        *types, overall = imgedit.ROWS[model]
        own = numbers[model]
        for (category, count), mean in zip(imgedit.COUNTS.items(), types, strict=True):
            assert own["categories"][category]["count"] == count
            assert own["categories"][category]["score"] == pytest.approx(mean, abs=0.01)
        assert own["overall"]["score"] == pytest.approx(overall, abs=0.01)
        low, high = own["overall"]["ci95"]["score"]
        assert low < own["overall"]["score"] < high
    # over samples the first of them would come out as another number
    report = run.report()
    micro = 1 + report["editors"][MODELS[0]]["overall"]["micro"]["mean"] * 4 / 10
    assert abs(micro - imgedit.ROWS[MODELS[0]][-1]) > 0.02


def test_the_ranking_follows_the_number_that_the_benchmark_publishes(run):
    report = run.report()
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(schema).iter_errors(report))
    numbers = json.loads((run.results / "report" / "protocol.json").read_text(encoding="utf-8"))
    assert report["headline"] == {
        "number": "score",
        "aggregate": "macro",
        "scale": [1, 5],
        "protocol": "ImgEdit basic",
    }
    assert [row["editor"] for row in report["leaderboard"]] == ["OmniGen2", "UniWorld-V1"]
    for row in report["leaderboard"]:
        published = numbers[row["editor"]]["overall"]
        assert row["mean"] == pytest.approx(published["score"], abs=1e-9)
        assert row["ci95"] == pytest.approx(published["ci95"]["score"], abs=1e-9)
    (pair,) = (row for row in report["comparisons"] if row["category"] == "overall")
    difference = (
        numbers["UniWorld-V1"]["overall"]["score"] - numbers["OmniGen2"]["overall"]["score"]
    )
    assert pair["difference"] == pytest.approx(difference, abs=1e-9)
    assert pair["count"] == 737
    text = (run.results / "report" / "report.md").read_text(encoding="utf-8")
    assert "| rank | editor | ImgEdit basic score | 95% interval |" in text
    assert "| OmniGen2 | 3.435 |" in text or "| OmniGen2 | 3.436 |" in text
