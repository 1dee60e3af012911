"""A score job on edits that are there already, without Snakemake."""

import io
from pathlib import Path

from PIL import Image

from lockstep import layout, plan, records
from lockstep.devices import device
from lockstep.devices.device import Device
from lockstep.judges.settings import JudgeSettings
from lockstep.records import EditRecord, ScoreRecord
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring import shard as scoring_shard
from lockstep.scoring.judgements import Place
from tests.conftest import ROOT, make_sample


class Job:
    """A shard of finished edits, to be scored.

    Args:
        images: the edits; the i-th belongs to sample `s{i}`.
    """

    def __init__(self, folder: Path, images: list[Image.Image], rubric: Path | None = None):
        self.folder = folder
        self.rubric = rubric or ROOT / "config" / "rubrics" / "physical.yaml"
        self.terminal = io.StringIO()
        samples, edits = [], []
        for i, image in enumerate(images):
            name = f"s{i}"
            samples.append(make_sample(folder, name, instruction=f"Do number {i}.", index=i))
            records.save_edit(self.category / "images" / f"{name}.png", image, {"key": name})
            edit = EditRecord(
                id=name,
                category="physical",
                key=name,
                status="ok",
                image=f"images/{name}.png",
                pixels_sha256=records.pixels_sha256(image),
                seed=1,
                wave=i,
                shard=0,
                device="cpu0",
            )
            edits.append(edit)
        records.write_records(self.manifest, samples)
        records.write_records(self.category / "edits" / "shard-0-of-1.jsonl", edits)

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest" / "physical.jsonl"

    @property
    def category(self) -> Path:
        return self.folder / "e" / "physical"

    def run(self, judge: JudgeSettings, devices: list[Device]) -> dict[str, ScoreRecord]:
        """Return the record of each edit, by its id; the job's device is the first one."""
        edits = [self.category / "edits" / "shard-0-of-1.jsonl"]
        rubric = read_rubric(self.rubric)
        scoring_shard.score_shard(
            scoring_shard.Shard(judge, self.manifest, edits, rubric, self.category, seed=0),
            Place(
                device.split(devices, 1),
                0,
                "score",
                self.terminal,
                ledger=layout.judge_spent(self.folder),
            ),
        )
        scores = self.category / "scores" / plan.shard_file(0, len(devices))
        return {record.id: record for record in records.read_records(scores, ScoreRecord)}

    def judged(self) -> list[str]:
        """Return the ids of the edits that a judgement is kept of."""
        return sorted(path.stem for path in self.category.glob("judgements/*.json"))

    def written(self) -> bytes:
        """Return all that any file holds and the terminal shows."""
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return self.terminal.getvalue().encode() + b"\0".join(path.read_bytes() for path in paths)
