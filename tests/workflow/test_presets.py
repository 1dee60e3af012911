"""A preset's editor through the workflow, with prompts that its text encoder cuts."""

from pathlib import Path

from tests import tiny_presets
from tests.workflow.conftest import make

EDITS = "results/klein/physical/edits/shard-0-of-1.jsonl"


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
