"""The page on which people rate edits, and the plan that names what its codes stand for.

Neither the page nor its images tell an editor: images are copies without metadata, under codes.
"""

import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lockstep import layout, records
from lockstep.config.rating import RatingSettings
from lockstep.config.run import Config
from lockstep.figures.tables import read_table
from lockstep.foreign import images, media
from lockstep.records import Sample, canonical_json
from lockstep.report import language
from lockstep.report.page import inline
from lockstep.report.rating.answers import VOTES
from lockstep.report.rating.plan import Item, Key, choose, deal
from lockstep.rubrics.combine import counted
from lockstep.rubrics.kinds import Kind, Scale
from lockstep.rubrics.rubric import Rubric


def write_rating(settings: Config, rubrics: Mapping[str, Rubric], threads: int = 1) -> None:
    """Write the page to rate, its images, and the plan.

    Args:
        rubrics: by category.
        threads: images that are copied at a time.

    Raises:
        ConfigError: if there is nothing to rate.
    """
    results, rating = Path(settings.results), settings.rating
    spoken = rating.language or settings.report.language
    page, plan = layout.rating(results)
    edits = _edits(settings)
    items = choose({sample: tuple(own) for sample, own in edits.items()}, rating)
    samples = _samples(results, {item[:2] for item in items})
    copies = _Copies(rating.seed)
    shown, told = {}, {}
    for item in items:
        sample, paths = samples[item[:2]], [edits[item[:2]][editor] for editor in item.editors]
        pictures = _pictures(sample, item, paths, copies)
        code = "i" + _hidden(rating.seed, "item", item, pictures)
        shown[item] = code
        told[code] = {"category": sample.category, **_words(sample), **pictures}
        if rating.mode == "criteria":
            told[code]["asked"] = counted(rubrics[sample.category], sample.tags)
    _write_images(copies, page.parent / "images", threads)
    dealt = deal(items, rating)
    recorded: dict[str, Any] = {
        **rating.model_dump(mode="json"),
        "language": spoken,
        "raters": {name: [shown[item] for item in own] for name, own in dealt.orders.items()},
        "shared": [shown[item] for item in dealt.shared],
        "items": {
            code: {**item._asdict(), "tags": samples[item[:2]].tags} for item, code in shown.items()
        },
        "rubrics": {key: rubrics[key].model_dump(mode="json") for key in _categories(items)},
    }
    number = records.sha256(canonical_json(recorded).encode())[:12]
    records.write_json(plan, {"plan": number, **recorded})
    texts = language.part(spoken, "rating")
    asked = {key: _asked(rubrics[key], rating, texts) for key in _categories(items)}
    data = {"plan": number, "raters": recorded["raters"], "items": told, "criteria": asked}
    records.write_text(page, _render(data, rating, spoken, settings.benchmark.background))


def _categories(items: Iterable[Item]) -> list[str]:
    return list(dict.fromkeys(item.category for item in items))


def _edits(settings: Config) -> dict[Key, dict[str, Path]]:
    """Return each sample's edited images by editor."""
    found: dict[Key, dict[str, Path]] = {}
    for category in settings.benchmark.named:
        for editor in (own for own in settings.editors if own.further_seed is None):
            table = read_table(layout.table(Path(settings.results), editor.name, category))
            for id, edited in table[["id", "edited"]].dropna().to_numpy(dtype=str):
                found.setdefault((category, str(id)), {})[editor.name] = Path(str(edited))
    return found


def _samples(results: Path, wanted: Collection[Key]) -> dict[Key, Sample]:
    return {
        (category, sample.id): sample
        for category in dict.fromkeys(category for category, _ in wanted)
        for sample in records.read_manifest(layout.manifest(results, category))
        if (category, sample.id) in wanted
    }


def _words(sample: Sample) -> dict[str, str]:
    """Return what a rater reads: what the judge reads, too."""
    names = ("instruction", "rationale", "expected")
    return {name: media.visible(getattr(sample, name)) for name in names}


def _hidden(*of: Any) -> str:
    """Return a code that tells nothing of what it stands for."""
    return records.sha256(canonical_json(of).encode())[:15]


class _Copies:
    """Images to copy, each once, and what lies under them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.wanted: dict[str, tuple[Path, str]] = {}

    def name(self, path: Path, background: str, *of: str) -> str:
        """Return the name of an image's copy; another image has another one."""
        name = f"{_hidden(self.seed, 'image', of, records.sha256(path.read_bytes()))}.png"
        self.wanted[name] = (path, background)
        return name


def _pictures(
    sample: Sample, item: Item, edits: Sequence[Path], copies: _Copies
) -> dict[str, list[str]]:
    whose = (sample.category, sample.id)
    others = {
        "sources": [sample.image, *(picture.image for picture in sample.more)],
        "reference": [] if sample.reference is None else [sample.reference.image],
    }
    found = {
        kind: [
            copies.name(Path(path), sample.background, *whose, kind, str(number))
            for number, path in enumerate(paths)
        ]
        for kind, paths in others.items()
    }
    named = zip(edits, item.editors, strict=True)
    own = [copies.name(path, sample.background, *whose, "edit", editor) for path, editor in named]
    return {**found, "edits": own}


def _write_images(copies: _Copies, folder: Path, threads: int) -> None:
    """Write the images that are not there yet; others go."""

    def write(name: str) -> None:
        path, background = copies.wanted[name]
        picture = images.open_rgb(path, background)
        # it may say who made it
        picture.info.clear()
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        records.write_bytes(folder / name, buffer.getvalue(), durable=False)

    there = {path.name for path in folder.glob("*.png")}
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, copies.wanted.keys() - there))
    for name in there - copies.wanted.keys():
        (folder / name).unlink()


def _asked(
    rubric: Rubric, rating: RatingSettings, texts: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return what is asked of an item: each criterion with its answers, or the vote on a pair."""
    if rating.mode == "pairs":
        answers = [{"text": vote, "label": texts[vote], "meaning": ""} for vote in VOTES]
        return [{"name": "vote", "label": texts["vote"], "question": "", "answers": answers}]
    return [
        {
            "name": valued.name,
            "label": valued.name.replace("_", " "),
            "question": media.visible(criterion.question),
            "numeric": _numeric(valued.kind),
            "answers": _answers(valued.kind, criterion.anchors, texts),
        }
        for question in rubric.asks
        for criterion in question.criteria
        for valued in question.model_copy(update={"criteria": (criterion,)}).valued
        if valued.kind.scale is not None
    ]


def _numeric(kind: Kind) -> bool:
    return not kind.options[0].text.isalpha() and all(
        option.text.replace(".", "", 1).isdigit() for option in kind.options
    )


def _answers(
    kind: Kind, anchors: Mapping[int, str], texts: Mapping[str, str]
) -> list[dict[str, str]]:
    own = texts if kind.options[0].text == "no" else {}
    meanings = {float(value): meaning for value, meaning in anchors.items()}
    numbers = isinstance(kind, Scale)
    return [
        {
            "text": option.text,
            "label": own.get(option.text, option.text),
            "meaning": media.visible(meanings.get(float(option.text), "")) if numbers else "",
        }
        for option in kind.options
    ]


def _render(data: Mapping[str, Any], rating: RatingSettings, spoken: str, background: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockstep.report.write"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["inline"] = inline
    texts = language.part(spoken, "rating")
    told = json.dumps(
        {**data, "mode": rating.mode, "texts": texts}, ensure_ascii=False, allow_nan=False
    )
    return environment.get_template("rating.html.j2").render(
        # no text of others ends the script that holds it
        data=Markup(told.replace("<", "\\u003c")),
        texts=texts,
        mode=rating.mode,
        language=language.TAGS[spoken],
        background=background,
    )
