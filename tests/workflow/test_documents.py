"""What the documents show is what runs."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from PIL import Image, ImageOps

from tests.conftest import ROOT
from tests.workflow.conftest import environment, judge_by_files, make


def blocks(document, language):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_notebooks_page_runs(tmp_path):
    """From the checkout, into another folder, on the results of a run that the page names."""
    workflow = make(
        tmp_path / "work",
        tmp_path,
        per_category=1,
        benchmark={"path": "benchmark.json", "categories": ["物理"]},
        editors=[{"name": "control", "type": "identity"}],
    )
    judge_by_files(workflow)
    workflow.run()
    code = "\n".join(blocks("docs/notebook.md", "python"))
    code = code.replace('"notebook/', f'"{tmp_path}/').replace(
        '"results/demo"', repr(str(workflow.results))
    )
    # a sample of each category is enough
    code = code.replace(
        "\nsamples =", "\nown = settings.benchmark.model_copy(update={'limit': 1})\nsamples ="
    )
    code = code.replace("read_benchmark(settings.benchmark,", "read_benchmark(own,")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "ok 10" in done.stdout
    assert "control" in done.stdout


def test_importing_the_package_offers_a_handful_of_names_and_imports_nothing():
    code = "import sys, lockstep; print(lockstep.__all__, 'pydantic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    names = ["edit_image", "judge_edit", "load_config", "read_benchmark", "read_results"]
    assert done.stdout.strip() == f"{names} False"


def pages_editor():
    (code,) = blocks("docs/editors.md", "python")
    (configuration,) = (block for block in blocks("docs/editors.md", "yaml") if "plugins" in block)
    return code, yaml.safe_load(configuration)


@pytest.fixture(scope="module")
def plugged(tmp_path_factory):
    """A run with the page's editor, from a folder outside the checkout."""
    folder = tmp_path_factory.mktemp("plugged")
    code, configuration = pages_editor()
    workflow = make(
        folder / "work",
        folder,
        per_category=2,
        benchmark={"path": "benchmark.json", "categories": ["物理"]},
        **configuration,
    )
    (workflow.folder / "my_editor.py").write_text(code, encoding="utf-8")
    judge_by_files(workflow)
    workflow.run()
    return workflow


def keys(workflow):
    return [record["key"] for record in workflow.records("edits", editor="flipped")]


def test_the_pages_editor_runs_and_its_code_is_part_of_the_key(plugged, tmp_path):
    found = plugged.records("edits", editor="flipped")
    assert [record["status"] for record in found] == ["ok"] * 2
    sources = {
        line["id"]: plugged.results / "manifest" / line["image"]
        for line in map(
            json.loads,
            (plugged.results / "manifest" / "physical.jsonl").read_text().splitlines(),
        )
    }
    record = found[0]
    edited = Image.open(plugged.results / "flipped" / "physical" / record["image"])
    source = Image.open(sources[record["id"]]).convert("RGB")
    assert edited.tobytes() == Image.blend(source, ImageOps.flip(source), 0.9).tobytes()
    again = plugged.copy(tmp_path / "work")
    again.run()
    assert [record["cached"] for record in again.records("edits", editor="flipped")] == [False] * 2
    file = again.folder / "my_editor.py"
    file.write_text(file.read_text(encoding="utf-8").replace("flip(", "mirror("), encoding="utf-8")
    again.run()
    assert not set(keys(again)) & set(keys(plugged))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import nothing_such", "my_editor.py: found no Python that can be imported"),
        ("x = 1", "my_editor.py: expected a subclass of EditorSettings or JudgeSettings"),
        (
            "from typing import Literal\n"
            "from lockstep.editors.settings import EditorSettings\n"
            "class Mine(EditorSettings):\n"
            "    type: Literal['identity']\n",
            "my_editor.py: found type 'identity', which is taken",
        ),
    ],
)
def test_a_plugin_that_is_none_is_one_sentence(plugged, tmp_path, code, sentence):
    workflow = plugged.copy(tmp_path / "work")
    (workflow.folder / "my_editor.py").write_text(code, encoding="utf-8")
    printed = workflow.run("-n", check=False)
    assert sentence in printed
    assert "Traceback" not in printed


def test_a_preset_beside_the_configuration_is_found(plugged, tmp_path):
    workflow = plugged.copy(tmp_path / "work")
    preset = {"type": "upside-down", "strength": 0.25, "size": "source"}
    (workflow.folder / "editors").mkdir()
    (workflow.folder / "editors" / "mine.yaml").write_text(yaml.safe_dump(preset))
    workflow.config["editors"] = [{"name": "flipped", "preset": "mine", "strength": 0.75}]
    workflow.run()
    (editor,) = yaml.safe_load((workflow.results / "report" / "config.yaml").read_text())["editors"]
    assert (editor["type"], editor["strength"], editor["size"]) == ("upside-down", 0.75, "source")
    (workflow.folder / "editors" / "mine.yaml").unlink()
    assert "editors: found preset 'mine'" in workflow.run("-n", check=False)


def test_the_pages_judge_runs_and_its_code_is_part_of_the_key(plugged, tmp_path):
    """From outside the checkout, on edits that are there."""
    (code,) = blocks("docs/judge.md", "python")
    (given,) = (block for block in blocks("docs/judge.md", "yaml") if "plugins" in block)
    given = yaml.safe_load(given)
    workflow = plugged.copy(tmp_path / "work")
    workflow.config["plugins"] += given["plugins"]
    rubrics = workflow.config["judge"]["rubrics"]
    workflow.config["judge"] = {**given["judge"], "rubrics": rubrics}
    file = workflow.folder / "my_judge.py"
    file.write_text(code, encoding="utf-8")
    workflow.run()
    found = workflow.records("scores", editor="flipped")
    assert [record["status"] for record in found] == ["ok"] * 2
    assert all(set(record["criteria"].values()) == {record["score"]} for record in found)
    assert keys(workflow) == keys(plugged)
    file.write_text(code.replace("10 * min", "10 - 10 * min"), encoding="utf-8")
    workflow.run()
    again = workflow.records("scores", editor="flipped")
    assert [a["score"] + b["score"] for a, b in zip(found, again, strict=True)] == [10.0] * 2
    assert not {record["key"] for record in found} & {record["key"] for record in again}
    assert keys(workflow) == keys(plugged)
