"""Lockstep: benchmark image-editing models on every GPU, in waves.

What a notebook needs stands here (docs/notebook.md shows it at work); all else lies in the rooms of
docs/architecture.md. Nothing is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from PIL import Image

    from lockstep.benchmark.settings import BenchmarkSettings
    from lockstep.config.run import Config
    from lockstep.editors.settings import EditorSettings
    from lockstep.judges.settings import JudgeSettings
    from lockstep.records import Sample, ScoreRecord

__version__ = "0.1.0"

__all__ = ["edit_image", "judge_edit", "load_config", "read_benchmark", "read_results"]


def load_config(path: str | Path) -> Config:
    """Return the typed configuration of a YAML file, whose own paths start at the working folder.

    Raises:
        ConfigError: with a sentence for each mistake.
    """
    from pathlib import Path

    from lockstep.config import load
    from lockstep.errors import ConfigError
    from lockstep.foreign.yaml_files import read_yaml

    data = load.with_own_files(read_yaml(Path(path), ConfigError), [str(Path(path).parent)])
    return load.load_config(data, str(path))


def read_benchmark(settings: BenchmarkSettings, folder: str | Path) -> list[Sample]:
    """Return the samples of a benchmark, in the order of their categories.

    Args:
        folder: where manifests and source images go; those that are there are replaced.

    Raises:
        BenchmarkError: if the benchmark cannot be read as a whole.
    """
    from pathlib import Path

    from lockstep import records
    from lockstep.benchmark import intake

    intake.prepare(settings, Path(folder))
    return [
        sample
        for category in settings.categories or ()
        for sample in records.read_manifest(Path(folder) / f"{category}.jsonl")
    ]


def edit_image(
    editor: EditorSettings, samples: Sequence[Sample], *, seed: int = 0, device: str = "cpu"
) -> list[Image.Image]:
    """Return the edit of each sample, as 8-bit RGB; the editor is loaded once.

    Args:
        seed: base seed, as in the configuration.
        device: cpu or cuda. The process uses the devices that it sees and holds none.

    Raises:
        ConfigError: if the editor has a rewriter, which is a stage of a run.
        EditError: if a sample cannot be edited.
    """
    from lockstep import plan
    from lockstep.editors.protocol import Told
    from lockstep.errors import ConfigError
    from lockstep.foreign import images

    if editor.rewrite is not None:
        raise ConfigError(
            f"editors.{editor.name}.rewrite: expected an editor without one, found one; rewrite "
            "the samples' instructions and leave it out"
        )
    model, edits = editor.load(device), []
    for sample in samples:
        own = plan.sample_seed(seed, sample.id, sample.source_seed, editor.seed_number)
        made = model.edit(model.prepare(sample), sample, own)
        image = made.image if isinstance(made, Told) else made
        if editor.size == "source":
            image = images.resize(image, images.shown_size(sample.image), editor.resize_filter)
        edits.append(image)
    return edits


def judge_edit(
    judge: JudgeSettings,
    sample: Sample,
    edited: Image.Image,
    *,
    editor: str = "",
    device: str = "cpu",
) -> ScoreRecord:
    """Return what the judge says of one edit; nothing is kept, and no budget counts it.

    Args:
        editor: name of the editor, for a judge that has finished scores.
        device: as above.
    """
    import sys
    import tempfile
    from contextlib import nullcontext
    from pathlib import Path

    from lockstep import records
    from lockstep.devices.device import Device
    from lockstep.judges import keys
    from lockstep.rubrics.rubric import read_rubric
    from lockstep.scoring import calls, judgements
    from lockstep.scoring.replies import Judging

    rubric = read_rubric(Path(judge.rubric_file(sample.category)))
    judging = Judging(judge, keys.identity(judge), rubric, editor)
    place = judgements.Place(
        [[Device("cpu", "0")]],
        0,
        "judge",
        sys.stderr,
        # the process may have a device already, which pinning would come too late for
        loaded=lambda devices, settings, load: nullcontext(load(device)),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{sample.id}.png")
        records.save_edit(path, edited, {})
        pixels, kept = records.pixels_sha256(edited), Path(folder, "judgement.json")
        asked = calls.asked(judging, sample, path, pixels, kept)
        return calls.together(asked, calls.judge_calls(judge, [asked], place))


def read_results(results: str | Path) -> pd.DataFrame:
    """Return the tables of all editors and categories of a folder of results, one below the other.

    Raises:
        ConfigError: if there is none.
    """
    from pathlib import Path

    import pandas as pd

    from lockstep import layout
    from lockstep.errors import ConfigError
    from lockstep.figures.tables import read_table

    paths = layout.known_tables(Path(results))
    if not paths:
        raise ConfigError(f"{results}: expected a folder of results, found no table in it")
    frames = [read_table(path).assign(editor=layout.of_table(path).editor) for path in paths]
    return pd.concat(frames, ignore_index=True)
