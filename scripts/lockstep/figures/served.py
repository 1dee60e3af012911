"""What servers were asked for and gave: requests, tokens, their price, and what was odd of it.

Pure functions over records.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from lockstep.editors.rewriting import ChatRewriteSettings, Rewriter
from lockstep.editors.settings import ServedEditorSettings
from lockstep.models.backend import Usage
from lockstep.records import EditRecord, RewriteRecord


def sum_up(
    edits: Iterable[EditRecord], editor: ServedEditorSettings, requests: int
) -> dict[str, Any]:
    """Return what an editor's edits came to, as in `schema.Served`.

    Args:
        edits: all records of the editor, over its categories, in any order.
        requests: sent over all runs, tries and the repeated one included.
    """
    images = prompt = reply = 0
    told: set[str] = set()
    warnings: Counter[str] = Counter()
    seed, tokens = "unknown", False
    for edit in edits:
        if (own := edit.served) is None:
            continue
        images, seed = images + 1, own.seed
        tokens = tokens or own.input_tokens is not None or own.output_tokens is not None
        prompt, reply = prompt + (own.input_tokens or 0), reply + (own.output_tokens or 0)
        told |= {own.model} if own.model else set()
        warnings.update(own.warnings)
    # the one that was repeated for the seed was paid for, too
    repeated = seed != "unknown"
    return {
        "requests": requests,
        "images": images,
        "input_tokens": prompt if tokens else None,
        "output_tokens": reply if tokens else None,
        "price": editor.price(Usage(prompt, reply), images + repeated),
        "seed": seed,
        "models": sorted(told),
        "warnings": dict(warnings),
    }


def rewriting(
    records: Iterable[RewriteRecord], rewriter: Rewriter, requests: int
) -> dict[str, Any]:
    """Return what the rewriting of an editor's instructions came to, as in `schema.Rewriting`.

    Args:
        records: all of the editor, over its categories, in any order.
        requests: sent over all runs, further tries included.
    """
    rewritten = failed = 0
    used: dict[str | None, Usage] = {}
    told: set[str] = set()
    for record in records:
        rewritten += record.status == "ok"
        failed += record.status != "ok"
        told |= {name} if (name := record.versions.get("served model")) else set()
        if record.prompt_tokens is not None and record.reply_tokens is not None:
            # samples that ask the same were asked for once
            used[record.key] = Usage(record.prompt_tokens, record.reply_tokens)
    tokens = Usage(*map(sum, zip(*used.values(), strict=True))) if used else None
    found = {"rewritten": rewritten, "failed": failed, "models": sorted(told)}
    found |= {"input_tokens": tokens and tokens[0], "output_tokens": tokens and tokens[1]}
    if not isinstance(rewriter, ChatRewriteSettings):
        return {**found, "by": rewriter.path, "requests": None, "price": None}
    price = None if tokens is None else rewriter.price(tokens, 0)
    return {**found, "by": rewriter.model, "requests": requests, "price": price}
