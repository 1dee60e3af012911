"""What training learns from: many drawn scenes with their texts, made by all processors ahead."""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lockstep.demo import views, wordings, world
from lockstep.demo.shapes import Shape
from miniature import asking, drawing

Rows = dict[str, np.ndarray]

WORDS = 24
"""Tokens that the editor's text can have behind the picture."""

REPLIES = {"score": 144, "done": 40, "look": 32, "better": 40}
"""Tokens that each question can have with its reply."""

PICTURES = {"score": 2, "done": 2, "look": 1, "better": 3}
"""Pictures of each question."""

SHARES = {
    "right": 0.26,
    "untouched": 0.12,
    "other": 0.22,
    "half": 0.14,
    "extra": 0.10,
    "damaged": 0.08,
    "worn": 0.08,
    "wrecked": 0.07,
}
"""How often each outcome is judged."""

ENDING = "<|im_end|>\n<|im_start|>assistant\n"


class Example(NamedTuple):
    """One question to the judge with its pictures."""

    category: str
    outcome: str
    pictures: list[list[Shape]]
    damages: list[float]
    question: asking.Question


def tasks(seed: int, *, held_out: bool = False) -> Iterator[tuple[world.Task, str, random.Random]]:
    """Yield tasks with their instructions, without end.

    Args:
        held_out: use the wordings that no model is trained on.
    """
    rng = random.Random(seed)
    while True:
        # referential instructions are the hardest to learn
        category = rng.choice((*world.CATEGORIES, "referential"))
        if held_out:
            category = rng.choice(world.CATEGORIES)
        task = world.make_task(category, rng)
        chinese = rng.random() < 0.5
        told = wordings.instruction(task.kind, task.detail, rng, chinese=chinese, held_out=held_out)
        yield task, told, rng


def editor_rows(tokenizer: Any, seed: int, count: int, *, held_out: bool = False) -> Rows:
    """Return rows of the editor's training: source, right edit and text.

    One text in ten is the negative prompt, which guidance needs to know.
    """
    pictures, tokens, kinds = [], [], []
    for task, told, rng in tasks(seed, held_out=held_out):
        pictures += [views.shapes(task.scene), views.shapes(world.right(task))]
        negative = not held_out and rng.random() < 0.1
        tokens.append((" " if negative else told) + ENDING)
        kinds.append(world.CATEGORIES.index(task.category))
        if len(tokens) == count:
            break
    ids = tokenizer(tokens, add_special_tokens=False)["input_ids"]
    return {
        "shapes": drawing.pack(pictures).reshape(count, 2, *drawing.pack([]).shape[1:]),
        "tokens": _filled(ids, WORDS),
        "length": np.array([len(each) for each in ids], np.int16),
        "category": np.array(kinds, np.int8),
    }


def example(
    question: str, task: world.Task, told: str, rng: random.Random, outcome: str | None = None
) -> Example:
    """Return an example of one of the judge's questions.

    Args:
        outcome: the edit that is judged; None takes any.
    """
    if outcome is None:
        outcome = rng.choices(list(SHARES), list(SHARES.values()))[0]
    found = world.outcome(task, outcome, rng)
    source, edited = views.shapes(task.scene), views.shapes(found.scene)
    match question:
        case "score":
            asked = world.said(task)
            right = asking.scored(task.category, told, asked, found.seen, found.criteria)
            pictures, damages = [source, edited], [0.0, found.damage]
        case "done":
            right = asking.done(told, found.criteria[0] >= 8)
            pictures, damages = [source, edited], [0.0, found.damage]
        case "look":
            right = asking.look(found.criteria[3])
            pictures, damages = [edited], [found.damage]
        case "better":
            while (second := world.outcome(task, rng.choice(list(SHARES)), rng)).name == outcome:
                pass
            if world.worth(second.criteria) == world.worth(found.criteria):
                second = world.outcome(task, "right" if outcome != "right" else "untouched", rng)
            first = world.worth(found.criteria) > world.worth(second.criteria)
            right = asking.better(told, first)
            pictures = [source, edited, views.shapes(second.scene)]
            damages = [0.0, found.damage, second.damage]
    return Example(task.category, outcome, pictures, damages, right)


def judge_rows(
    tokenizer: Any, question: str, seed: int, count: int, *, held_out: bool = False
) -> Rows:
    """Return rows of the judge's training for one kind of question."""
    examples: list[Example] = []
    for task, told, rng in tasks(seed, held_out=held_out):
        if question == "score" and rng.random() < 0.08:
            examples.append(_elsewhere(task, rng, held_out=held_out))
        else:
            examples.append(example(question, task, told, rng))
        if len(examples) == count:
            break
    prompts = [each.question.text + ENDING for each in examples]
    asked = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    replies = [each.question.reply + "<|im_end|>" for each in examples]
    replied = tokenizer(replies, add_special_tokens=False)["input_ids"]
    packed = drawing.pack([picture for each in examples for picture in each.pictures])
    return {
        "shapes": packed.reshape(count, PICTURES[question], *packed.shape[1:]),
        "damage": np.array([each.damages for each in examples], np.float16),
        "tokens": _filled([a + b for a, b in zip(asked, replied, strict=True)], REPLIES[question]),
        "start": np.array([len(each) for each in asked], np.int16),
        "length": np.array(
            [len(a) + len(b) for a, b in zip(asked, replied, strict=True)], np.int16
        ),
        "outcome": np.array([world.OUTCOMES.index(each.outcome) for each in examples], np.int8),
        "category": np.array([world.CATEGORIES.index(e.category) for e in examples], np.int8),
    }


def _elsewhere(task: world.Task, rng: random.Random, *, held_out: bool) -> Example:
    """Return an edit that is judged by an instruction of another category."""
    names = [name for name in world.CATEGORIES if name != task.category]
    other = world.make_task(rng.choice(names), rng)
    told = wordings.instruction(
        other.kind, other.detail, rng, chinese=rng.random() < 0.5, held_out=held_out
    )
    criteria = (0, 0, 5, 10)
    question = asking.scored(task.category, told, world.said(other), world.said(task), criteria)
    pictures = [views.shapes(task.scene), views.shapes(world.right(task))]
    return Example(task.category, "other", pictures, [0.0, 0.0], question)


def _filled(rows: Sequence[Sequence[int]], length: int) -> np.ndarray:
    filled = np.zeros((len(rows), length), np.int16)
    for number, row in enumerate(rows):
        assert len(row) <= length, (len(row), length)
        filled[number, : len(row)] = row
    return filled


QUESTIONS = ("score", "done", "look", "better")


def _write(job: tuple[str, str, int, int]) -> None:
    import transformers

    what, folder, seed, count = job
    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(folder, "tokenizer"))
    if what == "editor":
        found = editor_rows(tokenizer, seed, count)
    else:
        found = judge_rows(tokenizer, what, seed, count)
    path = Path(folder, f"{what}-{seed}.npz")
    np.savez(path.with_suffix(".part.npz"), **found)  # type: ignore[arg-type]
    path.with_suffix(".part.npz").rename(path)


def write(folder: Path, processes: int, parts: int, count: int) -> None:
    """Write rows of all kinds, `parts` files of each, that training reads as they come.

    Args:
        folder: with the tokenizer in `tokenizer/`.
        count: rows of a file.
    """
    jobs = []
    for part in range(parts):
        seed = 1000 + part
        jobs += [("editor", str(folder), seed, count), ("score", str(folder), seed, count)]
        if part % 4 == 0:
            jobs += [(what, str(folder), seed, count) for what in QUESTIONS[1:]]
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(_write, jobs))


def read(folder: Path, what: str, known: set[str]) -> list[Rows]:
    """Return the rows of files that are not known yet, and note them as known."""
    found = []
    for path in sorted(Path(folder).glob(f"{what}-*.npz")):
        if ".part" not in path.name and path.name not in known:
            known.add(path.name)
            found.append(dict(np.load(path)))
    return found
