"""A preset's editor through the workflow: prompts that are cut or rewritten, parts elsewhere."""

import shutil
from pathlib import Path

import pandas as pd

from tests import tiny_presets
from tests.workflow.conftest import make

EDITS = "results/klein/physical/edits/shard-0-of-1.jsonl"
FLUX3 = "results/flux3/physical/edits/shard-0-of-1.jsonl"
UPSAMPLER = ("prompt_upsampler", "prompt_upsampler_processor")


def test_cut_prompts_are_in_records_and_report_and_fail_where_they_must(models, tmp_path):
    tiny_presets.flux2_klein(tmp_path / "klein")
    klein = {
        "name": "klein",
        "preset": "flux-2-klein",
        "model": str(tmp_path / "klein"),
        "dtype": "float32",
        "num_inference_steps": 1,
        "call": {"max_sequence_length": 24},
    }

    def workflow(**given):
        return make(
            tmp_path / "work",
            models,
            per_category=1,
            benchmark={"path": "benchmark.json", "categories": ["physical"]},
            editors=[klein | given],
            devices={"accelerator": "cpu", "device_ids": [0]},
        )

    run = workflow()
    run.run()
    edited = run.records("edits", editor="klein")
    assert {record["status"] for record in edited} == {"ok"}
    for record in edited:
        assert record["prompt_cut"].startswith("cut after 24 of ")
        assert record["prompt_cut"].endswith(" tokens (Qwen3ForCausalLM)")
    text = Path(run.folder, "results/report/report.md").read_text()
    assert all(f"| {record['prompt_cut']} |" in text for record in edited)
    assert edited[0]["prompt_cut"] in Path(run.folder, "results/report/report.html").read_text()
    table = Path(run.folder, "results/klein/physical/table.csv").read_text()
    assert edited[0]["prompt_cut"] in table

    # the images are there, and count as failed as long as they must
    run = workflow(on_cut="fail")
    run.run(EDITS)
    failed = run.records("edits", editor="klein")
    assert {record["status"] for record in failed} == {"edit_failed"}
    assert [record["error"] for record in failed] == [
        f"the prompt was {record['prompt_cut']}" for record in edited
    ]
    run = workflow()
    run.run(EDITS)
    again = run.records("edits", editor="klein")
    assert {(record["status"], record["cached"]) for record in again} == {("ok", True)}
    assert [r["pixels_sha256"] for r in again] == [r["pixels_sha256"] for r in edited]


def test_a_modular_pipeline_edits_and_its_rewritten_instructions_are_shown(models, tmp_path):
    tiny_presets.flux3(tmp_path / "flux3")
    for part in UPSAMPLER:
        shutil.move(tmp_path / "flux3" / part, tmp_path / part)
    flux3 = {
        "name": "flux3",
        "preset": "flux-3-klein-base",
        "model": str(tmp_path / "flux3"),
        "components": {part: str(tmp_path / part) for part in UPSAMPLER},
        "dtype": "float32",
        "num_inference_steps": 1,
        "call": {"max_new_tokens": 4},
    }

    def workflow(**given):
        return make(
            tmp_path / "work",
            models,
            per_category=1,
            benchmark={"path": "benchmark.json", "categories": ["physical"]},
            editors=[flux3 | given],
            devices={"accelerator": "cpu", "device_ids": [0]},
        )

    run = workflow()
    run.run()
    edited = run.records("edits", editor="flux3")
    assert {(record["status"], record["cached"]) for record in edited} == {("ok", False)}
    assert all(record["rewritten"] for record in edited)
    table = pd.read_csv(Path(run.folder, "results/flux3/physical/table.csv"))
    assert table["rewritten"].notna().all()

    # another file of a part elsewhere makes other edits; the old ones are not taken
    template = tmp_path / "prompt_upsampler_processor" / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant", "editor"))
    run.run(FLUX3)
    assert {record["cached"] for record in run.records("edits", editor="flux3")} == {False}
    left_out = workflow(components=dict.fromkeys(UPSAMPLER), call={})
    left_out.run(FLUX3)
    assert {record["rewritten"] for record in left_out.records("edits", editor="flux3")} == {None}
    run = workflow(components={})
    assert "expected it there, or in components a folder for prompt_upsampler" in run.run(
        FLUX3, check=False
    )
