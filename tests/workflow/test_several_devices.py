"""Editors that take several devices each, beside others that take one."""

from tests.workflow.conftest import EDITOR, make

DEVICES = {"accelerator": "cpu", "device_ids": [0, 1]}


def test_an_editor_over_both_devices_gives_the_same_images_as_over_one(models, tmp_path):
    run = make(
        tmp_path / "work",
        models,
        per_category=2,
        benchmark={"path": "benchmark.json", "categories": ["physical"]},
        devices=DEVICES,
    )
    (editor,) = run.config["editors"]
    # what is faster is for one device
    one = editor | {"optimize": False}
    run.config["editors"] = [one, one | {"name": "large", "gpus_per_editor": 2}]
    run.config["judge"]["mode"] = "score_only"
    printed = run.run()
    # two shards for one, one for the other, and a judge on the first device of the latter
    assert "3 edit, 3 score" in printed
    results = run.results
    apart = run.records("edits")
    assert (results / "large" / "physical" / "edits" / "shard-0-of-1.jsonl").exists()
    run.config["devices"] = {**DEVICES, "device_ids": [0]}
    together = run.records("edits", editor="large")
    run.config["devices"] = DEVICES
    pixels = {record["id"]: record["pixels_sha256"] for record in apart}
    assert {record["id"]: record["pixels_sha256"] for record in together} == pixels
    assert {record["device"] for record in together} == {"cpu0+cpu1"}
    assert set(run.report()["editors"]) == {EDITOR, "large"}
    # nothing is to be done again
    assert "Nothing to be done" in run.run("--dry-run")

    # another number of devices of a judge: edits stay, scores are found
    run.config["judge"]["gpus_per_judge"] = 2
    printed = run.run()
    # those of the larger editor stay where they are
    assert "jobs: 1 score" in printed and " edit," not in printed
    assert "2 of 2 judgements are in the cache" in run.logs(f"score/{EDITOR}/*/*-of-1.log")
