"""A new checkpoint at the same place: what most runs are about."""

import os
import re
import shutil

from tests import tiny_editors
from tests.workflow.conftest import configuration, make

EDITS = [f"results/{name}/physical/edits/shard-0-of-1.jsonl" for name in ("tuned", "plain")]


def test_another_adapter_at_the_same_place_redoes_its_editors_edits_alone(models, tmp_path):
    model = tmp_path / "editor"
    shutil.copytree(models / "editor", model)
    adapter = tmp_path / "latest.safetensors"
    tiny_editors.make_adapter(adapter, models / "editor")
    (plain,) = configuration(models)["editors"]
    plain = {**plain, "name": "plain", "model": str(model), "call": {"width": 64, "height": 64}}
    tuned = {**plain, "name": "tuned", "adapters": [{"path": str(adapter)}]}
    workflow = make(
        tmp_path / "work",
        models,
        per_category=1,
        benchmark={"path": "benchmark.json", "categories": ["physical"]},
        editors=[plain, tuned],
        devices={"accelerator": "cpu", "device_ids": [0]},
    )
    workflow.run(*EDITS)
    first, untouched = (workflow.records("edits", editor=name)[0] for name in ("tuned", "plain"))
    assert first["pixels_sha256"] != untouched["pixels_sha256"]

    # trained long before the edits were made
    tiny_editors.make_adapter(adapter, models / "editor", seed=1)
    os.utime(adapter, (10**9, 10**9))
    planned = workflow.run("-n", *EDITS)
    assert re.findall(r"^edit +(editing.*), shard", planned, re.MULTILINE) == [
        "editing physical with tuned"
    ]
    workflow.run(*EDITS)
    (second,) = workflow.records("edits", editor="tuned")
    assert not second["cached"]
    assert second["pixels_sha256"] != first["pixels_sha256"]
    assert workflow.records("edits", editor="plain") == [untouched]

    # a touched file is the same adapter
    os.utime(adapter)
    workflow.run(*EDITS)
    assert workflow.records("edits", editor="tuned") == [second]

    # another model at the same place is seen too, which its files' times need not tell
    os.utime(model / "model_index.json", (10**9, 10**9))
    planned = workflow.run("-n", *EDITS)
    assert "jobs: 2 edit" in planned
