"""What is still to be judged before a run, and about what it takes; nothing is asked or written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lockstep import layout, records
from lockstep.errors import DamagedError, TemplateError
from lockstep.judges import keys
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import Usage
from lockstep.models.budget import spent
from lockstep.models.served_settings import ServedSettings
from lockstep.records import EditRecord, Sample
from lockstep.rubrics.rubric import Rubric
from lockstep.scoring import tokens
from lockstep.scoring.replies import Judging, Pending
from lockstep.scoring.shard import judging, to_ask
from lockstep.scoring.shown import as_shown

LOOKED_AT = 2000
"""Samples of an editor and category whose judgements are looked for; of more, evenly spaced ones
stand for all."""

MEASURED = 200
"""Samples of each category by whose texts and sizes tokens are estimated, evenly spaced."""


@dataclass
class Due:
    """Judgements of one or more editors and categories."""

    judgements: float = 0
    """To make, if every edit can be judged."""
    kept: float = 0
    """That are there and fit."""
    prompt: float = 0
    """Tokens of the prompts of those to make, estimated."""
    reply: float = 0
    """Tokens of their longest replies."""
    exact: bool = True
    """Whether each judgement was looked for."""
    known: int = 0
    """Kept judgements that tell their tokens."""
    known_prompt: int = 0
    """Tokens of these."""
    known_reply: int = 0

    def add(self, other: "Due", times: float = 1.0) -> None:
        """Add what others are, of which each stands for some."""
        for name in ("judgements", "kept", "prompt", "reply"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for name in ("known", "known_prompt", "known_reply"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.exact = self.exact and other.exact

    @property
    def usage(self) -> Usage:
        """Tokens of those to make: by the mean of those that are there, or by the rule."""
        if not self.known:
            return Usage(round(self.prompt), round(self.reply))
        each = self.judgements / self.known
        return Usage(round(each * self.known_prompt), round(each * self.known_reply))


def of_category(
    judge: JudgeSettings, rubric: Rubric, manifest: Path, folder: Path, seed: int, below: str = ""
) -> Due:
    """Return what an editor and category needs, whose samples are known.

    Args:
        folder: the category's results of the editor.
        seed: base seed.
        below: folder of the judge among others.
    """
    samples = as_shown(manifest, folder, judge.instruction_shown)
    found = estimated(judge, rubric, samples, folder, seed, len(samples))
    if not layout.judgement(folder, "", "_").parent.is_dir():
        return found
    edits = _edits(folder)
    job = judging(judge, keys.identity(judge), rubric, folder, below)
    seen = Due(exact=len(samples) <= LOOKED_AT)
    places = _spaced(len(samples), LOOKED_AT)
    for place in places:
        # an edit that is not there yet has no judgement either
        edit = edits.get(samples[place].id)
        if edit is None:
            seen.judgements += found.judgements / len(samples)
        elif edit[0] == "ok":
            seen.add(_kept(_items(samples, place, folder, job, seed, edit[1])))
    whole = Due()
    whole.add(seen, len(samples) / len(places))
    share = whole.judgements / found.judgements if found.judgements else 0
    whole.prompt, whole.reply = share * found.prompt, share * found.reply
    return whole


def estimated(
    judge: JudgeSettings,
    rubric: Rubric,
    samples: Sequence[Sample],
    folder: Path,
    seed: int,
    count: int,
) -> Due:
    """Return what samples need of which no judgement is there.

    Args:
        samples: all of them, or some that stand for all.
        count: number of them all.
    """
    # nothing here is asked for, so that no model has to be known
    job, found = Judging(judge, {}, rubric, layout.place(folder).editor), Due()
    places = _spaced(len(samples), MEASURED)
    for place in places:
        for item in _items(samples, place, folder, job, seed, ""):
            prompt, reply = tokens.of_prompt(item), tokens.longest(item)
            found.add(Due(judgements=1, prompt=prompt, reply=reply))
    whole = Due()
    whole.add(found, count / len(places) if places else 0)
    return whole


def _spaced(count: int, most: int) -> Sequence[int]:
    """Return evenly spaced places of a sequence, at most a given number."""
    return [place * count // most for place in range(most)] if count > most else range(count)


def _edits(folder: Path) -> dict[str, tuple[str, str | None]]:
    """Return the status and the pixels of each edit that is there, by its sample."""
    try:
        found = records.each_record(layout.known_shards(folder, "edits"), EditRecord)
        return {edit.id: (edit.status, edit.pixels_sha256) for edit in found}
    except DamagedError:
        # it is made again
        return {}


def _items(
    samples: Sequence[Sample],
    place: int,
    folder: Path,
    job: Judging,
    seed: int,
    pixels: str | None,
) -> Iterator[Pending]:
    edited = layout.edited(folder, samples[place].id)
    try:
        items, swapped = to_ask(samples, place, edited, pixels, job, folder, seed)
    except TemplateError:
        return
    yield from chain.from_iterable(items if swapped is None else (*items, swapped))


def _kept(items: Iterator[Pending]) -> Due:
    """Return which of some judgements are there; only their keys and tokens are looked at."""
    found = Due()
    for item in items:
        there = map(_record, (item.path, *item.elsewhere))
        kept = next((record for record in there if record.get("key") == item.key), {})
        if kept.get("reply") is None:
            found.judgements += 1
            continue
        found.kept += 1
        match (kept.get("prompt_tokens"), kept.get("reply_tokens")):
            case (int(prompt), int(reply)):
                found.add(Due(known=1, known_prompt=prompt, known_reply=reply))
    return found


def _record(path: Path) -> dict[str, Any]:
    try:
        found = records.read_json(path)
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def sentences(due: Due, judge: JudgeSettings, ledger: Path, is_known: bool = True) -> Iterator[str]:
    """Yield what is due, what it takes and what it costs, in sentences.

    Args:
        ledger: what its judgements took over all runs.
        is_known: whether it is known which judgements are there.
    """
    about = "" if due.exact else "about "
    kept = f"{about}{due.kept:,.0f} {'is' if round(due.kept) == 1 else 'are'} cached"
    if not is_known:
        about, kept = "at most ", "how many of them are cached is known once `prepare` has run"
    own = judge.option
    number = round(due.judgements)
    judgements = f"{number:,} {'judgement is' if number == 1 else 'judgements are'} due"
    yield f"{own}: {about}{judgements}, {kept}"
    if not number:
        return
    prompt, reply = due.usage
    if due.known:
        most, how = "", f"by the mean of {due.known:,} that are cached"
    else:
        most = "at most "
        how = (
            f"estimated: {tokens.LETTERS} letters or {tokens.PATCH}×{tokens.PATCH} pixels a token, "
            "and the longest replies"
        )
    yield f"{own}: these take about {prompt:,} prompt and {most}{reply:,} reply tokens ({how})"
    if not isinstance(judge, ServedSettings):
        return
    missing = [name for name in ("input_price", "output_price") if getattr(judge, name) is None]
    if missing:
        unset = " and ".join(f"{own}.{name}" for name in missing)
        yield f"{own}: their price is unknown, as {unset} is not set"
        return
    price = judge.price(Usage(prompt, reply), 0) or 0
    yield (
        f"{own}: they cost {most or 'about '}{price:,.2f} "
        f"({own}.input_price {judge.input_price:g}, {own}.output_price {judge.output_price:g})"
    )
    if (budget := getattr(judge, "budget", None)) is None:
        return
    used = judge.price(spent(ledger).usage, 0) or 0
    enough = "which suffices" if used + price <= budget else "so the run may stop before its end"
    yield f"{own}.budget: {used:,.2f} of {budget:g} is spent over all runs, {enough}"
