"""What edits through a server came to: requests, tokens, their price, and what was odd of them.

Pure functions over the records of edits.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from lockstep.editors.settings import ServedEditorSettings
from lockstep.models.backend import Usage
from lockstep.records import EditRecord


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
