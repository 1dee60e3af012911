"""Which instruction the judge sees, where an editor was told another one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lockstep import layout, records
from lockstep.records import RewriteRecord, Sample
from lockstep.records.rows import aside


def as_shown(
    manifest: Path, folder: Path, which: Literal["original", "rewritten", "both"]
) -> Sequence[Sample]:
    """Return a category's samples with the instructions that the judge sees.

    Args:
        folder: the category's results of an editor.
    """
    samples, path = records.read_manifest(manifest), layout.rewritten(folder)
    if which == "original" or not path.exists():
        return samples
    texts = {r.id: r.rewritten for r in records.each_record([path], RewriteRecord) if r.rewritten}

    def seen(sample: Sample) -> Sample:
        if (text := texts.get(sample.id)) is None:
            return sample
        both = f"{sample.instruction}\n\nThe editor was told this in its place:\n{text}"
        return sample.model_copy(update={"instruction": text if which == "rewritten" else both})

    return aside(map(seen, samples))


def of_two(first: Sample, second: Sample) -> Sample:
    """Return a sample with the instructions that the judge sees of two edits of it."""
    if first.instruction == second.instruction:
        return first
    both = f"For the first edit:\n{first.instruction}\n\nFor the second edit:\n{second.instruction}"
    return first.model_copy(update={"instruction": both})
