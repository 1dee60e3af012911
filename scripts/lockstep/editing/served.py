"""Editing through a server: a budget of requests, and whether the server honours seeds."""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import filelock

from lockstep import layout, records
from lockstep.editors.rewriting import ChatRewriteSettings
from lockstep.editors.settings import EditorSettings, ServedEditorSettings
from lockstep.errors import EditError, ServerError, one_sentence
from lockstep.records import EditRecord

log = logging.getLogger(__name__)

Verdict = Literal["honoured", "ignored", "unknown"]

SAID: dict[Verdict, str] = {
    "honoured": "the same request with the same seed gave the same pixels again",
    "ignored": "the same request with the same seed gave other pixels: runs cannot be repeated",
    "unknown": "whether the server honours seeds is unknown",
}


def spend(
    asks: ServedEditorSettings | ChatRewriteSettings, counted: Path, done: str = "edited"
) -> None:
    """Count a request that is about to be sent, over all runs into the same results.

    Args:
        counted: where.
        done: what its answers are.

    Raises:
        ServerError: if there may be no more.
    """
    if not records.count(counted, asks.max_requests):
        raise ServerError(
            f"{asks.option}.max_requests: found all {asks.max_requests} requests sent, over "
            f"all runs into these results; what is {done} is kept, raise it and run again"
        )


def is_open(editor: EditorSettings, folder: Path) -> bool:
    """Tell whether it has still to be found out how an editor's server treats seeds."""
    return isinstance(editor, ServedEditorSettings) and known(editor, folder) is None


def known(editor: ServedEditorSettings, folder: Path) -> Verdict | None:
    """Return how an editor's server treats seeds; None if that has still to be found out."""
    if "seed" in editor.request and editor.request["seed"] is None:
        return "unknown"
    try:
        found = records.read_json(layout.seed(layout.place(folder).results, editor.name))
        verdict = found["seed"] if found["asked"] == _asked(editor) else None
        return verdict if verdict in SAID else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def find_out(
    editor: ServedEditorSettings,
    folder: Path,
    done: Iterable[EditRecord],
    again: Callable[[str], str],
) -> Verdict:
    """Find out once, with one request more, how an editor's server treats seeds.

    Where the server is of no use by now, or the source cannot be read any more, the next job may
    ask.

    Args:
        done: records of the edits that are there.
        again: asks once more for the edit of a sample, by its id, and returns the SHA-256 of the
            pixels.
    """
    path = layout.seed(layout.place(folder).results, editor.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    # one job asks, the others wait for what it finds
    with filelock.FileLock(path.with_suffix(".lock")):
        if (verdict := known(editor, folder)) is not None:
            return verdict
        # what an earlier run made, a server may have made with other weights
        made = (record for record in done if record.status == "ok")
        first = min(made, key=lambda record: record.cached, default=None)
        if first is None:
            return "unknown"
        said = None
        try:
            verdict = "honoured" if again(first.id) == first.pixels_sha256 else "ignored"
        except EditError as error:
            verdict, said = "unknown", str(error)
        except Exception as error:  # a server of no use, or any kind that a bad source image has
            log.debug("traceback", exc_info=True)
            log.warning("%s (%s)", SAID["unknown"], one_sentence(error))
            return "unknown"
        found = {"seed": verdict, "sample": first.id, "error": said, "asked": _asked(editor)}
        records.write_json(path, found)
    log.log(logging.INFO if verdict == "honoured" else logging.WARNING, "%s", SAID[verdict])
    return verdict


def with_verdict(done: Iterable[EditRecord], verdict: Verdict) -> Iterator[EditRecord]:
    """Yield records that say how the server treats seeds."""
    for record in done:
        if record.served is None:
            yield record
        else:
            served = record.served.model_copy(update={"seed": verdict})
            yield record.model_copy(update={"served": served})


def _asked(editor: ServedEditorSettings) -> str:
    """Return what names the model and the request, wherever its server is."""
    asked = editor.model_dump(mode="json", include={"model", "revision", "request"})
    return records.sha256(records.canonical_json(asked).encode())
