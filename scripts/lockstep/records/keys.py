"""Keys: hashes over everything that decides an edit or a judgement."""

from collections.abc import Mapping, Sequence
from typing import Any

from lockstep.records.hashes import canonical_json, sha256
from lockstep.records.types import Sample


def edit_key(sample: Sample, editor: Mapping[str, Any], seed: int) -> str:
    """Return the SHA-256 over everything that decides an edit's pixels.

    Args:
        editor: the editor's identity: model, revision, call arguments, dtype, size policy,
            semantics version.
    """
    return sha256(
        canonical_json(
            {
                **_source(sample),
                "instruction": sample.instruction,
                "editor": dict(editor),
                "seed": seed,
            }
        ).encode()
    )


def rewrite_key(sample: Sample, rewriter: Mapping[str, Any], shown: bool) -> str:
    """Return the SHA-256 over everything that decides a rewritten instruction.

    Args:
        rewriter: its identity: model, revision, prompt, settings, semantics version.
        shown: whether it sees the source images.
    """
    told = {"instruction": sample.instruction, "rewriter": dict(rewriter)}
    return sha256(canonical_json({**(_source(sample) if shown else {}), **told}).encode())


def score_key(
    sample: Sample,
    pixels: str,
    judge: Mapping[str, Any],
    asked: Mapping[str, Any],
    sampling: Mapping[str, Any] | None = None,
    shown: Sequence[str] = (),
    resized: bool = False,
) -> str:
    """Return the SHA-256 over everything that decides a judge's reply.

    Args:
        pixels: SHA-256 of the edited image's pixels.
        judge: the judge's identity: model, revision, settings, semantics version.
        asked: what the judge is told and how it must reply, as `Rubric.asked` returns it.
        sampling: seed and temperature; None is greedy.
        shown: images that the judge sees, in their order, where a call says which; those that it
            does not see decide nothing.
        resized: whether it sees the edited image in the size of the source.
    """
    seen: dict[str, Any] = {**_source(sample), **_reference(sample), "pixels": pixels}
    if shown:
        seen = {"images": [_shown(sample, kind, pixels, resized) for kind in shown]}
    return sha256(
        canonical_json(
            {
                **seen,
                "judge": dict(judge),
                "asked": dict(asked),
                "sampling": None if sampling is None else dict(sampling),
            }
        ).encode()
    )


def _shown(sample: Sample, kind: str, pixels: str, resized: bool) -> list[Any]:
    """Return what decides the pixels of images of a kind, in the order in which they are seen."""
    if kind == "edited":
        return [kind, pixels, *([sample.image_sha256] if resized else [])]
    if kind == "reference":
        return [kind, *_reference(sample).values()]
    if kind == "more":
        grounds = [sample.background if own.transparent else None for own in sample.more]
        return [kind, [picture.sha256 for picture in sample.more], grounds]
    return [kind, sample.image_sha256, sample.background if sample.transparent else None]


def _source(sample: Sample) -> dict[str, Any]:
    """Return what decides the sources' pixels as editor and judge see them."""
    source: dict[str, Any] = {"image": sample.image_sha256}
    if sample.more:
        source["more"] = [picture.sha256 for picture in sample.more]
    # another background changes nothing under an opaque image
    if sample.transparent or any(picture.transparent for picture in sample.more):
        source["background"] = sample.background
    return source


def _reference(sample: Sample) -> dict[str, Any]:
    """Return what decides the pixels of the reference, where there is one."""
    if sample.reference is None:
        return {}
    ground = sample.background if sample.reference.transparent else None
    return {"reference": [sample.reference.sha256, ground]}
