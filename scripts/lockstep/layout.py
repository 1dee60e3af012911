"""Where each output lies below the folder of results, and whose a path there is.

Nothing else joins such a path or takes one apart. `folder` is that of an editor's category.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lockstep import plan

OF_JUDGEMENTS = re.compile(r"(calls|swapped|repeat-\d+|.*\.jsonl?)\Z")
"""Names that stand beside the folders of judges, in those of scores and judgements."""


class Place(NamedTuple):
    """Whose a file is."""

    results: Path
    editor: str
    category: str


def place(folder: Path) -> Place:
    """Return whose a folder is."""
    return Place(folder.parents[1], folder.parent.name, folder.name)


def of_table(path: Path) -> Place:
    """Return whose a table or a summary is."""
    return place(path.parent)


def of_records(path: Path) -> Place:
    """Return whose a shard's records are."""
    return place(path.parents[1])


def manifest(results: Path, category: str) -> Path:
    return results / "manifest" / f"{category}.jsonl"


def counts(results: Path) -> Path:
    return results / "manifest" / "counts.json"


def rejected(results: Path) -> Path:
    return results / "manifest" / "rejected.jsonl"


def rejected_log(results: Path) -> Path:
    """Return the copy of the rejected samples that stays where the benchmark is refused."""
    return results / "logs" / "rejected.jsonl"


def given_up(log: str | Path) -> Path:
    """Return the copy of the log of a job that is not to be tried again in its run."""
    return Path(f"{log}.given-up")


def sources(results: Path) -> Path:
    """Return the list of files of the benchmark's that source images were read from."""
    return results / "manifest" / "sources.jsonl"


def known_manifests(results: Path) -> list[Path]:
    """Return the manifests that are there."""
    others = (rejected(results), sources(results))
    return [
        path for path in sorted(manifest(results, "_").parent.glob("*.jsonl")) if path not in others
    ]


def source_images(results: Path) -> Path:
    return results / "manifest" / "images"


def folder(results: Path, editor: str, category: str) -> Path:
    return results / editor / category


def requests(results: Path, editor: str) -> Path:
    """Return the count of the requests that an editor has sent to its server."""
    return results / editor / "requests.count"


def seed(results: Path, editor: str) -> Path:
    """Return what is known of how an editor's server treats seeds."""
    return results / editor / "seed.json"


def rewrite_requests(results: Path, editor: str) -> Path:
    """Return the count of the requests that were sent to rewrite an editor's instructions."""
    return results / editor / "rewrite.count"


def rewrite(results: Path, key: str) -> Path:
    """Return a rewritten instruction that is kept, which editors share."""
    return results / "rewrites" / f"{key}.json"


def rewritten(folder: Path) -> Path:
    """Return what the editor is told in place of the category's instructions."""
    return folder / "rewritten.jsonl"


def edited_images(folder: Path) -> Path:
    return folder / "images"


def edited(folder: Path, sample: str) -> Path:
    return edited_images(folder) / f"{sample}.png"


def below_folder(image: Path) -> str:
    """Return an edited image's path as records have it, below the folder."""
    return str(image.relative_to(image.parents[1]))


def waves(folder: Path) -> Path:
    return folder / "waves"


def judgement(folder: Path, which: str, sample: str, judge: str = "") -> Path:
    """Return where a judgement is kept; see `shard` for the judge."""
    return folder / "judgements" / judge / which / f"{sample}.json"


def known_judges(folder: Path) -> list[str]:
    """Return the judges beside the first one of which judgements are there."""
    try:
        with os.scandir(folder / "judgements") as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not OF_JUDGEMENTS.match(name))


def of_other_judges(
    folder: Path, judgement: Path, judge: str, others: Iterable[str]
) -> tuple[Path, ...]:
    """Return where a judgement of a judge lies if it was made as another one's."""
    root = folder / "judgements"
    below = judgement.relative_to(root / judge)
    return tuple(root / other / below for other in others)


def of_call(judgement: Path, call: str) -> Path:
    """Return where one call of a judgement is kept."""
    return judgement.parent / "calls" / call / judgement.name


def preservation(folder: Path) -> Path:
    """Return what was measured of the edits, which is kept from table to table."""
    return folder / "preservation.jsonl"


def similarity(folder: Path) -> Path:
    """Return what models told of the edits, which is kept from table to table."""
    return folder / "similarity.jsonl"


def shard(folder: Path, kind: str, number: int, shards: int, judge: str = "") -> Path:
    """Return a shard's records, of the kind `edits`, `scores` or `asked`.

    Args:
        judge: where there are several, who scored; that of the first one is ''.
    """
    return folder / kind / judge / plan.shard_file(number, shards)


def known_shards(folder: Path, kind: str, judge: str = "") -> list[Path]:
    """Return the records of all shards that are there, also of other numbers of shards."""
    return sorted((folder / kind / judge).glob("shard-*-of-*.jsonl"))


def known_edits(results: Path, editor: str = "*") -> list[Path]:
    """Return the records of edits that are there, of all categories."""
    return sorted(results.glob(f"{editor}/*/edits/shard-*-of-*.jsonl"))


def edits(results: Path, editor: str, category: str, number: int, shards: int) -> Path:
    return shard(folder(results, editor, category), "edits", number, shards)


def all_edits(results: Path, editor: str, category: str, shards: int) -> list[Path]:
    return [edits(results, editor, category, number, shards) for number in range(shards)]


def all_scores(
    results: Path, editor: str, category: str, shards: int, judge: str = ""
) -> list[Path]:
    """Return a judge's scores; see `shard` for the judge."""
    own = folder(results, editor, category)
    return [shard(own, "scores", number, shards, judge) for number in range(shards)]


def known_asked(results: Path, editor: str, category: str, judge: str = "") -> list[Path]:
    """Return what a judge was asked, of all shards of scores that are there."""
    return known_shards(folder(results, editor, category), "asked", judge)


def log(
    results: Path, stage: str, editor: str, category: str, judge: str, shard: int, shards: int
) -> Path:
    """Return the log of the job of a shard.

    Args:
        stage: edit or score.
        judge: as in `shard`.
    """
    name = Path(plan.shard_file(shard, shards)).with_suffix(".log")
    return results / "logs" / stage / editor / category / judge / name


def table(results: Path, editor: str, category: str) -> Path:
    return results / editor / category / "table.csv"


def known_tables(results: Path) -> list[Path]:
    return sorted(results.glob("*/*/table.csv"))


def summary(results: Path, editor: str, category: str) -> Path:
    return results / editor / category / "summary.json"


def page(results: Path) -> Path:
    return results / "report" / "report.html"


def report(
    results: Path, editors: Sequence[str], categories: Sequence[str], series: Iterable[str] = ()
) -> list[Path]:
    """Return the files of the report, the page first, but for those that only the page loads.

    Args:
        series: names of training runs.
    """
    names = ["report.md", "report.json", "config.yaml", "scores.tex", "means.csv", "data/index.js"]
    names += [f"{plot}-{key}.csv" for plot in ("distribution", "criteria") for key in categories]
    names += [f"series-{name}.csv" for name in series]
    names += [f"lockstep-{editor}-{key}.csv" for editor in editors for key in ("timeline", "curve")]
    return [page(results), *(results / "report" / name for name in names)]


def partial_report(results: Path) -> Path:
    """Return the folder of the report of a run that is not finished."""
    return results / "report-partial"


def numbers(results: Path) -> Path:
    """Return what the report says, as JSON."""
    return results / "report" / "report.json"


def sheets(results: Path, editor: str, category: str) -> dict[str, Path]:
    """Return the contact sheets of an editor and category, by what they show."""
    folder = results / "report" / "sheets"
    return {kind: folder / f"{editor}-{category}-{kind}.jpg" for kind in ("source", "edited")}


def protocol(results: Path) -> list[Path]:
    """Return what sums the editors up as the benchmark does."""
    return [results / "report" / f"protocol.{form}" for form in ("json", "md")]


def comparison(results: Path) -> list[Path]:
    names = ("compare.md", "compare.json", "scores.csv", "scores.tex")
    return [results / "compare" / name for name in names]


def agreement(results: Path) -> Path:
    """Return the judge's agreement with human scores."""
    return results / "agreement.json"


def judges(results: Path) -> list[Path]:
    """Return what several judges say together, and a table of their scores."""
    return [results / "judges.json", results / "judges.csv"]


def judge_spent(results: Path, judge: str = "") -> Path:
    """Return the sums of what judgements by a server took, over all runs; judge as in `shard`."""
    return results / (f"judge-{judge}.spent" if judge else "judge.spent")


def chosen_pairs(results: Path, category: str, number: int) -> Path:
    """Return the pairs that a round compares."""
    return results / "pairs" / category / f"round-{number}" / "chosen.jsonl"


def pairs(results: Path, category: str, number: int, shard: int, shards: int) -> Path:
    """Return what a shard of a round's comparisons found."""
    return chosen_pairs(results, category, number).with_name(plan.shard_file(shard, shards))


def pairs_asked(pairs: Path) -> Path:
    """Return what the judge was asked of a shard of pairs."""
    return pairs.parent / "asked" / pairs.name


def known_pairs_asked(results: Path, category: str) -> list[Path]:
    """Return what the judge was asked of pairs, of all rounds and shards that are there."""
    return sorted((results / "pairs" / category).glob("round-*/asked/shard-*-of-*.jsonl"))


def pair_judgement(results: Path, category: str, first: str, second: str, sample: str) -> Path:
    """Return the judgement of two editors' edits in one order."""
    return results / "pairs" / category / "judgements" / first / second / f"{sample}.json"


def arena(results: Path) -> Path:
    """Return ratings and all else that comparisons in pairs say of the editors."""
    return results / "arena.json"


def rating(results: Path) -> tuple[Path, Path]:
    """Return the page on which people rate edits, and the plan that names what they see."""
    return results / "rating" / "rating.html", results / "rating" / "plan.json"


def answers(plan: Path) -> list[Path]:
    """Return what people have answered, as their pages saved it, beside a plan."""
    return sorted(plan.parent.glob("answers/*.csv"))


def ratings(plan: Path) -> Path:
    """Return what people gave the edits of a plan."""
    return plan.with_name("ratings.csv")


def anchors(results: Path) -> Path:
    """Return the folder in which the anchor set is judged."""
    return results / "anchors"


def anchor_scores(anchors: Path) -> tuple[Path, Path]:
    """Return the scores of an anchor set, and their drift, in the folder where it is judged."""
    return anchors / "scores.jsonl", anchors / "drift.json"


def anchor_judgement(anchors: Path, anchor: str) -> Path:
    return anchors / "judgements" / f"{anchor}.json"


def anchor_set(results: Path) -> Path:
    """Return the folder of the anchor set that a run makes."""
    return results / "anchor_set"


def anchor_files(folder: Path) -> tuple[Path, Path]:
    """Return the samples and the recorded scores of an anchor set, in its folder."""
    return folder / "anchors.jsonl", folder / "recorded.jsonl"


def progress(results: Path) -> Path:
    """Return what a run says of how far it is."""
    return results / "progress.json"


def worker_log(results: Path, devices: str) -> Path:
    return results / "logs" / "workers" / f"{devices}.log"


def note(results: Path, output: Path) -> Path:
    """Return the note of what an output was made of."""
    return results / "provenance" / f"{output.relative_to(results)}.json"


def known_notes(results: Path) -> list[Path]:
    return sorted((results / "provenance").rglob("*.json"))
