"""How often the miniature's edits and scores are right, on scenes that its training never used."""

import itertools
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from lockstep import plan
from lockstep.demo import views, world
from lockstep.editors.protocol import Editor
from lockstep.figures import stats
from lockstep.judges.protocol import Judge, Pair
from lockstep.records import Sample
from lockstep.rubrics import combine
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import Rubric, read_rubric
from miniature import drawing, rows
from miniature.measure import HELD_OUT, correct

MINIATURE = Path(__file__).parents[1] / "resources" / "miniature"
"""Folder of the miniature's weights and rubrics."""


class Case(NamedTuple):
    """A held-out scene with its instruction and right edit."""

    task: world.Task
    sample: Sample
    source: Image.Image
    right: Image.Image
    seed: int
    """Of wrong edits of it."""


class Judged(NamedTuple):
    """An edit of known worth with what a judge says of it."""

    category: str
    outcome: str
    known: float
    """Right score, 0 to 10."""
    score: float
    expected: float


def cases(folder: Path, count: int, *, first: int = 0) -> list[Case]:
    """Draw held-out cases, and write their sources.

    Args:
        first: how many are left out before.
    """
    drawn = rows.tasks(HELD_OUT, held_out=True)
    found = []
    for number, (task, told, _) in enumerate(itertools.islice(drawn, first, first + count)):
        scenes = [views.shapes(task.scene), views.shapes(world.right(task))]
        source, right = drawing.pictures(scenes)
        name = f"{first + number:05d}"
        path = folder / f"{name}.png"
        source.save(path)
        sample = Sample(
            id=name,
            category=task.category,
            image=str(path),
            image_sha256="",
            width=source.width,
            height=source.height,
            instruction=told,
            index=number,
        )
        found.append(Case(task, sample, source, right, HELD_OUT + number))
    return found


def edit(editor: Editor, given: Sequence[Case]) -> Iterator[Image.Image]:
    """Yield the edit of each case, at the source's size."""
    for case in given:
        seed = plan.sample_seed(0, case.sample.id, None)
        edited = editor.edit(editor.prepare(case.sample), case.sample, seed)
        yield edited.resize(case.source.size, Image.Resampling.BOX)


def tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """Return pictures as numbers from 0 to 1, pictures × 3 × side × side."""
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def right_edits(given: Sequence[Case], edited: Sequence[Image.Image]) -> list[bool]:
    """Tell which edits are right."""
    found, _, _ = correct(
        tensor(edited),
        tensor([case.source for case in given]),
        tensor([case.right for case in given]),
    )
    return found.tolist()


@cache
def rubric_of(category: str, folder: Path = MINIATURE / "rubrics") -> Rubric:
    """Return the miniature's rubric of a category."""
    return read_rubric(folder / f"{category}.yaml")


def known_edit(case: Case, outcome: str) -> tuple[Image.Image, world.Outcome]:
    """Draw an edit of known worth."""
    found = world.outcome(case.task, outcome, random.Random(case.seed))
    pixels = drawing.draw(torch.from_numpy(drawing.pack([views.shapes(found.scene)])))
    if found.damage:
        generator = torch.Generator().manual_seed(case.seed)
        pixels = drawing.damage(pixels, torch.tensor([found.damage]), generator)
    array = (pixels[0] * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(array), found


def judge(
    given: Judge, pairs: Sequence[tuple[Case, str, Image.Image, float]], batch: int = 4
) -> list[Judged]:
    """Judge edits.

    Args:
        pairs: case, name of the outcome, edit and its right score.
    """
    found = []
    for first in range(0, len(pairs), batch):
        part = pairs[first : first + batch]
        asked = []
        for case, _, image, _ in part:
            rubric = rubric_of(case.task.category)
            prompt = rubric.prompt(case.sample)
            asked.append(Pair(case.sample.id, "known", case.source, image, rubric, prompt))
        for (case, name, _, known), pair, reply in zip(
            part, asked, given.judge(asked), strict=True
        ):
            scores = parse_reply(reply.reply or "", pair.rubric)
            score = combine.score(pair.rubric, scores.criteria)
            expected = combine.expected_score(pair.rubric, reply.probabilities or {})
            found.append(Judged(case.task.category, name, known, score, expected))
    return found


def known_pairs(given: Sequence[Case]) -> list[tuple[Case, str, Image.Image, float]]:
    """Return every outcome of each case, for `judge`."""
    found = []
    for case in given:
        for name in world.OUTCOMES:
            image, outcome = known_edit(case, name)
            found.append((case, name, image, world.worth(outcome.criteria)))
    return found


def spearman(judged: Sequence[Judged]) -> float:
    """Return the rank correlation of expected and known scores."""
    pairs = [(each.expected, each.known) for each in judged]
    return float(spearmanr(pairs).statistic)


def figures(judged: Sequence[Judged]) -> dict[str, float]:
    """Return what a judge's scores of known edits are worth."""
    of: dict[str, list[float]] = {}
    for each in judged:
        of.setdefault(each.outcome, []).append(each.expected)
    right = of.pop("right")
    found = {f"auc {name}": stats.separation(right, own)["auc"] for name, own in of.items()}
    found["spearman"] = spearman(judged)
    found["off"] = float(np.mean([abs(each.expected - each.known) for each in judged]))
    return found
