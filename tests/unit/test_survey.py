"""What is told of a benchmark before anything runs."""

import json

from lockstep import records
from lockstep.config.load import load_config
from lockstep.figures import survey
from lockstep.records import EditRecord
from tests import formats


def lines(tmp_path, made, devices=2):
    settings = load_config(
        {
            "results": str(tmp_path / "results"),
            "benchmark": made.settings,
            "editors": [{"name": "control", "type": "identity"}],
            "judge": {"type": "openai", "model": "m", "url": "http://localhost/v1"},
        },
        "c.yaml",
    )
    found = survey.survey(settings.benchmark)
    return list(survey.lines(found, settings, devices))


def test_a_survey_counts_what_is_there_and_names_what_is_not_usable(tmp_path):
    made = formats.re_edit(tmp_path / "b", 6)
    with open(made.settings["path"], encoding="utf-8") as file:
        items = json.load(file)
    items[1] |= {"src_img_b64": items[0]["src_img_b64"]}
    items[5] |= {"edit_instruction_en": "", "subset": "物理"}
    records.write_text(made.settings["path"], json.dumps(items))
    told = "\n".join(lines(tmp_path, made))
    assert f"{made.settings['path']}: re-edit, 5 samples" in told
    assert "       1 physical" in told
    assert "instructions: 5 without Chinese characters" in told
    assert "source images: 96×64 to 96×64, median 96×64" in told
    assert (
        "duplicates: samples with the image of another one: 1, with its instruction too: 0" in told
    )
    assert "rejected: 1\n       1 edit_instruction_en\n  item 6 (" in told
    assert "control: not measured yet" in told
    assert not (tmp_path / "results").exists()


def test_the_time_is_estimated_by_edits_that_were_made_before(tmp_path):
    made = formats.re_edit(tmp_path / "b", 7)
    edit = EditRecord(
        id="a", category="physical", key="k", status="ok", seed=0, wave=0, shard=0, device="cpu0"
    )
    edits = [edit.model_copy(update={"edit_seconds": seconds}) for seconds in (1.0, 40.0, 200.0)]
    path = tmp_path / "results" / "control" / "physical" / "edits" / "shard-0-of-1.jsonl"
    records.write_records(path, edits)
    # seven samples on two devices are four waves, whatever their categories
    (told,) = [line for line in lines(tmp_path, made) if line.startswith("control")]
    assert told.startswith("control: about 2 min 40 s of editing on 2 devices (4 waves of 40.00 s")
