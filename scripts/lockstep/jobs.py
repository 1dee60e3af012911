"""The jobs that run on a device: here, or in the process that holds the device's model.

Their arguments are plain values, so that they can be sent to another process; what they do there is
what they would do here.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from lockstep import adapter_scale, config, hosts, models, provenance, records
from lockstep.device import Device, Loaded, joined, loaded, split
from lockstep.rubric import read_rubric

LIBRARY = Path(__file__).parent


def run(
    kind: str,
    settings: config.Config,
    devices: Sequence[Device],
    shard: int,
    log: str,
    terminal: IO[str],
    **arguments: Any,
) -> None:
    """Run a job where its model is.

    Args:
        kind: edit, score or anchors.
        devices: devices of all shards of edits.
        log: the job's log file.
        terminal: where progress is shown.
        arguments: what else the function of this kind takes, as plain values.

    Raises:
        LockstepError: if the job fails.
    """
    model = settings.editor(arguments["editor"]) if kind == "edit" else settings.judge
    stays = settings.devices.resident and settings.cluster is None
    if not (stays and model.on_device and hosts.in_run()):
        run_here(kind, settings, devices, shard, terminal, loaded, **arguments)
        return
    name = model.name if kind == "edit" else "the judge"
    request = {
        "kind": kind,
        "settings": settings.model_dump(mode="json"),
        "devices": devices,
        "shard": shard,
        "log": log,
        "arguments": arguments,
    }
    own = split(devices, 1 if kind == "edit" else settings.judge.gpus_per_judge)[shard]
    warm = hosts.run(request, own, model_key(model), name, settings, terminal)
    if kind == "edit" and warm and settings.judge.on_device:
        _stand_by_to_judge(settings, devices, shard)


def _stand_by_to_judge(settings: config.Config, devices: Sequence[Device], shard: int) -> None:
    """Let the judge of what is edited stand by; the first of its devices does so for all."""
    together = settings.judge.gpus_per_judge
    if shard % together == 0:
        own = split(devices, together)[shard // together]
        key, module = model_key(settings.judge), "lockstep.judges.qwen3_vl"
        hosts.stand_by(own, key, "the judge", settings, module)


def run_here(
    kind: str,
    settings: config.Config,
    devices: Sequence[Device],
    shard: int,
    terminal: IO[str],
    loaded: Loaded,
    **arguments: Any,
) -> None:
    """Run a job in this process.

    Args:
        loaded: gives the job's model on its device.
    """
    KINDS[kind](settings, devices, shard, terminal, loaded, **arguments)


def model_key(model: config.AnyEditor | config.AnyJudge) -> str:
    """Return the SHA-256 over what a model in memory was made of: settings, weights, code.

    Weights are known by their files' sizes and times here, which takes no reading.
    """
    folder = getattr(model, "model", None)
    paths = models.model_files(folder) if folder and config.is_folder(folder) else []
    files = [adapter.file for adapter in getattr(model, "adapters", ()) if adapter.file]
    paths += [*files, *filter(None, map(adapter_scale.beside, files))]
    stats = [(str(path), Path(path).stat()) for path in paths]
    made_of = {
        "settings": model.model_dump(mode="json"),
        "weights": [[path, s.st_size, s.st_mtime_ns, s.st_ino] for path, s in stats],
        "code": [records.sha256(path.read_bytes()) for path in sorted(LIBRARY.rglob("*.py"))],
        "python": sys.prefix,
    }
    return records.sha256(records.canonical_json(made_of).encode())


def _edit(
    settings: config.Config,
    devices: Sequence[Device],
    shard: int,
    terminal: IO[str],
    loaded: Loaded,
    *,
    editor: str,
    manifest: str,
    folder: str,
    slots: int,
    run: str,
    first: int,
) -> None:
    from lockstep.editing import Shard, edit_shard

    category, own = Path(manifest).stem, settings.editor(editor)
    with provenance.noted(provenance.edited(settings, own, category, shard, len(devices))):
        edit_shard(
            settings,
            own,
            manifest=Path(manifest),
            folder=Path(folder),
            shard=Shard(shard, devices, slots, run, first),
            terminal=terminal,
            loaded=loaded,
        )


def _score(
    settings: config.Config,
    devices: Sequence[Device],
    shard: int,
    terminal: IO[str],
    loaded: Loaded,
    *,
    manifest: str,
    edits: Sequence[str],
    rubric: str,
    folder: str,
) -> None:
    from lockstep.scoring import score_shard

    category, editor, count = Path(manifest).stem, Path(folder).parent.name, len(devices)
    # read once, so that the note is of what the scores were made with
    told = read_rubric(Path(rubric))
    with provenance.noted(provenance.scored(settings, editor, category, shard, count, told)):
        score_shard(
            settings,
            manifest=Path(manifest),
            edits=list(map(Path, edits)),
            rubric=told,
            folder=Path(folder),
            devices=split(devices, settings.judge.gpus_per_judge),
            shard=shard,
            terminal=terminal,
            loaded=loaded,
        )


def _anchors(
    settings: config.Config,
    devices: Sequence[Device],
    shard: int,
    terminal: IO[str],
    loaded: Loaded,
    *,
    folder: str,
    results: str,
) -> None:
    from lockstep.anchors import score_anchors
    from lockstep.judging import Place

    groups = split(devices, settings.judge.gpus_per_judge)
    place = Place(groups, shard, f"score anchors {joined(groups[shard])}", terminal, loaded)
    rubrics = {
        category: read_rubric(Path(settings.judge.rubric_file(category)))
        for category in settings.benchmark.categories
    }
    with provenance.noted(provenance.anchored(settings, rubrics)):
        score_anchors(settings, folder=Path(folder), results=Path(results), place=place)


KINDS = {"edit": _edit, "score": _score, "anchors": _anchors}
