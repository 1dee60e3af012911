"""Rewriting the instructions of a category before its edits: each is asked for once and kept."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

from lockstep import layout, records
from lockstep.editing import served
from lockstep.editors.rewriting import ChatRewriteSettings, FileRewriteSettings
from lockstep.editors.rewriting.chat import Rewritten
from lockstep.editors.rewriting.table import read_texts
from lockstep.editors.settings import EditorSettings
from lockstep.errors import ConfigError, SampleError, one_sentence
from lockstep.foreign.ids import same_id
from lockstep.foreign.transport import Failed
from lockstep.models import server
from lockstep.records import RewriteRecord, Sample, alike, failures, progress

log = logging.getLogger(__name__)


def rewrite(editor: EditorSettings, manifest: Path, folder: Path, terminal: IO[str]) -> None:
    """Rewrite the instructions of a category for an editor and write their records.

    Texts of a server are kept and shared by all editors that ask for the same. One sample's failure
    is recorded and does not stop the others.

    Args:
        manifest: the category's manifest.
        folder: the category's results.
        terminal: where it says what a user should know.

    Raises:
        ConfigError: if a file holds none of the samples.
        ServerError: if the server is of no use; what is rewritten is kept.
    """
    samples = records.read_manifest(manifest)
    rewriter = editor.rewrite
    if isinstance(rewriter, FileRewriteSettings):
        found = _of_file(rewriter.path, samples)
    else:
        assert isinstance(rewriter, ChatRewriteSettings)
        found = _of_server(rewriter, samples, folder)
    failed = [(record.id, record.error) for record in found if record.status != "ok"]
    log.info("%d of %d instructions are rewritten", len(found) - len(failed), len(found))
    for record in found:
        if record.error:
            log.warning("%s: %s", record.id, record.error)
    if failed:
        name = layout.place(folder)
        told = failures.sentence(failed, len(found), "rewriting")
        print(f"{name.category} {name.editor}: {told}", file=terminal)
    records.write_records(layout.rewritten(folder), found)


def _of_file(path: str, samples: Iterable[Sample]) -> list[RewriteRecord]:
    texts = read_texts(path)
    found, missing = [], []
    for sample in samples:
        text = texts.get(same_id(sample.id))
        if text is None:
            missing.append(sample.id)
            text = SampleError(f"{path}: found no rewritten instruction of sample {sample.id!r}")
        if isinstance(text, SampleError):
            found.append(_record(sample, "rewrite_failed", error=one_sentence(text)))
        else:
            found.append(_record(sample, "ok", rewritten=text))
    if missing and len(missing) == len(found):
        raise ConfigError(
            f"{path}: expected the ids of samples, such as {missing[0]!r}, found none of the "
            f"{len(missing)} in category {found[0].category!r}"
        )
    return found


def _of_server(
    rewriter: ChatRewriteSettings, samples: Iterable[Sample], folder: Path
) -> list[RewriteRecord]:
    place, identity = layout.place(folder), rewriter.identity()
    known: dict[str, RewriteRecord] = {}
    missing: dict[str, Sample] = {}
    asked = []
    for sample in samples:
        key = records.rewrite_key(sample, identity, rewriter.image)
        asked.append((sample.id, sample.category, key))
        if key in known or key in missing:
            # samples that ask the same are asked for once
            continue
        if (kept := _kept(layout.rewrite(place.results, key), key)) is None:
            missing[key] = sample
        else:
            known[key] = kept
    log.info("%d of %d rewritten instructions are kept", len(known), len(known) + len(missing))
    if missing:
        known |= _asked(rewriter, missing, len(known), place)
    return [_of_sample(known[key], sample, category) for sample, category, key in asked]


def _asked(
    rewriter: ChatRewriteSettings,
    missing: Mapping[str, Sample],
    known: int,
    place: layout.Place,
) -> dict[str, RewriteRecord]:
    """Return the records of samples that a server is asked for, by their keys.

    Args:
        known: number of those that are kept.
    """
    found: dict[str, RewriteRecord] = {}
    progress.expect(len(missing) + known, known)
    with closing(rewriter.load()) as model:
        progress.working()
        counted = layout.rewrite_requests(place.results, place.editor)
        model.spend = partial(served.spend, rewriter, counted, model.done)

        def ask(item: tuple[str, Sample]) -> RewriteRecord:
            return _one(model.rewrite, *item)

        for record in server.side_by_side(
            model,
            list(missing.items()),
            ask,
            rewriter.concurrency,
            rewriter.max_failed_share,
            known,
        ):
            found[str(record.key)] = record
            if record.status == "ok":
                records.write_records(layout.rewrite(place.results, str(record.key)), [record])
            progress.note(failed=int(record.status != "ok"))
    return found


def _one(rewrite: Callable[[Sample], Rewritten], key: str, sample: Sample) -> RewriteRecord:
    """Return what became of one request; a failure says why."""
    began = time.monotonic()
    try:
        text, usage, versions = rewrite(sample)
    except (Failed, SampleError) as error:
        return _record(sample, "rewrite_failed", key=key, error=one_sentence(error))
    took = {} if usage is None else usage._asdict()
    seconds = round(time.monotonic() - began, 4)
    told = {"rewritten": text, "rewrite_seconds": seconds, "versions": versions}
    return _record(sample, "ok", key=key, **told, **took)


def _of_sample(record: RewriteRecord, sample: str, category: str) -> RewriteRecord:
    """Return the record of a text that was asked for, perhaps for another sample, as a sample's."""
    own = {"id": sample, "category": category}
    if record.error is not None and not record.error.startswith(alike.REFUSAL):
        own["error"] = f"rewriting {sample!r} failed: {record.error}"
    return record.model_copy(update=own)


def _record(sample: Sample, status: Literal["ok", "rewrite_failed"], **found: Any) -> RewriteRecord:
    own = {"id": sample.id, "category": sample.category, "instruction": sample.instruction}
    return RewriteRecord(status=status, **own, **found)


def _kept(path: Path, key: str) -> RewriteRecord | None:
    """Return the record of a text that is there already and fits its key."""
    try:
        (kept,) = records.read_records(path, RewriteRecord)
    except (FileNotFoundError, ValueError):
        return None
    return kept if kept.key == key and kept.rewritten else None
