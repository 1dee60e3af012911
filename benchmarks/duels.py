"""Measure how many judgements it takes to rank the miniature's three checkpoints: pairs and scores.

    python benchmarks/duels.py --scenes 200 --folder duels

Each checkpoint edits held-out scenes. The judge scores every edit, and compares all pairs in both
orders. Then samples are taken in many random orders, one after the other, until it is certain which
of two checkpoints is better, or the order final, middle, early: it holds in 95% of draws of as many
samples anew.
"""

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
from PIL import Image

from lockstep.editors.diffusers import DiffusersSettings
from lockstep.judges.protocol import Pair
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.records import Picture
from lockstep.rubrics.pairs import PLACES, read_pairs
from lockstep.rubrics.replies import parse_reply

EDITORS = ("final", "middle", "early")
"""In their true order."""

SURE = 0.95
DRAWS = 500
LEAST = 4
"""Samples below which no order is called certain."""

Duels = dict[tuple[str, str], np.ndarray]


def edited(folder: Path, cases: list[measure.Case]) -> dict[str, list[Path]]:
    """Return the edits of each checkpoint, made where they are not there."""
    from lockstep.editors.diffusers.editor import DiffusersEditor

    found: dict[str, list[Path]] = {}
    for name in EDITORS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        own = found[name] = [folder / name / f"{case.sample.id}.png" for case in cases]
        due = [(case, path) for case, path in zip(cases, own, strict=True) if not path.exists()]
        if due:
            model = str(measure.MINIATURE / f"editor-{name}")
            given: dict[str, Any] = {"num_inference_steps": 8, "true_cfg_scale": 2}
            settings = DiffusersSettings(
                name=name, type="diffusers", model=model, dtype="float32", **given
            )
            editor = DiffusersEditor(settings, "cpu")
            edits = measure.edit(editor, [case for case, _ in due])
            for (_, path), image in zip(due, edits, strict=True):
                image.save(path)
    return found


def judged(folder: Path, cases: list[measure.Case]) -> dict[str, np.ndarray]:
    """Return scores (samples × editors), expected scores, and pairs (samples × ordered pairs).

    Of a pair it is the share of the first edit: by the reply, and by its probabilities.
    """
    from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge

    kept = folder / "judged.json"
    if kept.exists():
        rows = json.loads(kept.read_text(encoding="utf-8"))
        if len(rows["score"]) >= len(cases):
            return {name: np.array(own)[: len(cases)] for name, own in rows.items()}
    paths = edited(folder, cases)
    settings = Qwen3VLSettings(
        type="qwen3_vl", model=str(measure.MINIATURE / "judge"), dtype="float32"
    )
    judge = Qwen3VLJudge(settings, "cpu")
    rubric = read_pairs(str(measure.MINIATURE / "rubrics" / "pairs.yaml"))
    (call,) = rubric.calls
    values = [PLACES[own.value] for own in call.kind(call.criteria[0]).options]
    found: dict[str, list[list[float]]] = {"score": [], "expected": [], "said": [], "share": []}
    for number, case in enumerate(cases):
        images = {name: Image.open(paths[name][number]).convert("RGB") for name in EDITORS}
        own = [(case, name, images[name], 0.0) for name in EDITORS]
        scores = measure.judge(judge, own)
        found["score"].append([each.score for each in scores])
        found["expected"].append([each.expected for each in scores])
        shown = case.sample.model_copy(
            update={"more": [Picture(image="", sha256="", width=1, height=1)]}
        )
        pairs = [
            Pair(
                case.sample.id, "", case.source, images[second], call, call.prompt(shown),
                more=[images[first]],
            )
            for first, second in itertools.permutations(EDITORS, 2)
        ]  # fmt: skip
        replies = judge.judge(pairs)
        said = [parse_reply(each.reply or "", call).criteria["better"] for each in replies]
        found["said"].append(said)
        place = values.index("first")
        found["share"].append([(each.probabilities or {})["better"][place] for each in replies])
    kept.write_text(json.dumps(found), encoding="utf-8")
    return {name: np.array(own) for name, own in found.items()}


def of_pairs(shares: np.ndarray, number: Callable[[np.ndarray], np.ndarray]) -> Duels:
    """Return what pairs say of each two editors, a number of each sample, above 0 for the first.

    Args:
        shares: samples × ordered pairs.
        number: of the shares of one order.
    """
    both = list(itertools.permutations(EDITORS, 2))
    return {
        (one, other): number(shares[:, both.index((one, other))])
        - number(shares[:, both.index((other, one))])
        for one, other in itertools.combinations(EDITORS, 2)
    }


def of_scores(scores: np.ndarray) -> Duels:
    """Return what scores say of each two editors, likewise."""
    places = itertools.combinations(range(len(EDITORS)), 2)
    return {(EDITORS[a], EDITORS[b]): scores[:, a] - scores[:, b] for a, b in places}


def log_odds(shares: np.ndarray) -> np.ndarray:
    """Return the logarithm of the odds; a bias to one place is the same in both orders."""
    shares = shares.clip(1e-6, 1 - 1e-6)
    return np.log(shares / (1 - shares))


def needed(values: np.ndarray, orders: int) -> np.ndarray:
    """Return after how many samples all means are surely above 0, also with the next two.

    Infinite where all samples do not do.

    Args:
        values: samples × numbers.
        orders: random orders of the samples.
    """
    found = []
    for seed in range(orders):
        generator = np.random.default_rng(seed)
        shuffled = values[generator.permutation(len(values))]
        sure, count = 0, LEAST - 1
        while sure < 3 and count < len(values):
            count += 1
            times = generator.multinomial(count, np.full(count, 1 / count), size=DRAWS)
            right = (times @ shuffled[:count] > 1e-9).all(1).mean()
            sure = sure + 1 if right >= SURE else 0
        found.append(count - 2 if sure == 3 else np.inf)
    return np.array(found)


def told(values: np.ndarray, each: int, orders: int) -> str:
    """Return the judgements needed: their median, quartiles, and how often all did not do.

    Args:
        each: judgements of a sample.
    """
    count = needed(values, orders) * each
    low, middle, high = np.quantile(count, (0.25, 0.5, 0.75), method="nearest")
    if np.isinf(middle):
        most = len(values) * each
        return f"more than {most} ({np.isfinite(count).mean():.0%} do with fewer)"
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("duels"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    (given.folder / "source").mkdir(parents=True, exist_ok=True)
    found = judged(given.folder, measure.cases(given.folder / "source", given.scenes))
    for name in ("score", "expected"):
        means = ", ".join(f"{mean:.3f}" for mean in found[name].mean(0))
        print(f"mean {name}: {means} ({', '.join(EDITORS)})")
    said = of_pairs(found["said"], lambda own: own)
    for (one, other), own in said.items():
        print(
            f"{one} against {other}: {np.mean(own > 0):.1%} won, {np.mean(own == 0):.1%} ties, "
            f"{np.mean(own < 0):.1%} lost"
        )
    first = np.quantile(found["share"][:, 0], 0.5)
    print(
        f"probability of the edit shown first, {EDITORS[0]} before {EDITORS[1]}: median {first:.3f}"
    )
    titles = [" over ".join(pair) for pair in said]
    print("|", " | ".join(["by", *titles, "the whole order"]), "|")
    print("|---" * (len(titles) + 2) + "|")
    for title, own, whole in (
        ("scores", of_scores(found["score"]), 3),
        ("expected scores", of_scores(found["expected"]), 3),
        ("pairs, verdicts", said, 6),
        ("pairs, log odds", of_pairs(found["share"], log_odds), 6),
    ):
        cells = [told(each[:, None], 2, given.orders) for each in own.values()]
        # two differences make the order
        chain = np.stack([own[pair] for pair in itertools.pairwise(EDITORS)], 1)
        print("|", " | ".join([title, *cells, told(chain, whole, given.orders)]), "|", flush=True)


if __name__ == "__main__":
    main()
