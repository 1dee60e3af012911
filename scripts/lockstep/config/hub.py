"""Models that are named by a hub id: whether they are there, before a job needs them."""

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from lockstep.config.run import Config
from lockstep.errors import suggest
from lockstep.models.backend import HubFile

STAGES = ("edit", "score")
"""Jobs of a whole run that load models."""

SECONDS = 10
"""Longest time that the hub is asked for one file."""


def lacking(config: Config, source: str, stages: Collection[str] = STAGES) -> list[str]:
    """Look for one file of each model and adapter that is named by a hub id.

    A misspelt folder looks like a hub id, and a job would find neither only when it loads it.

    Args:
        source: what to call the configuration in messages.
        stages: names of the jobs that are to run; others need no model.

    Returns:
        a sentence for each that is neither downloaded nor known to be on the hub.
    """
    sentences = []
    for stage, key, wanted in _named(config):
        if stage not in stages:
            continue
        name = wanted.id
        if (reason := _reason(name, wanted.revision, wanted.file)) is not None:
            sentences.append(
                f"{source}: {key}: found no folder {name!r}{_near(name)}, no download of it, and "
                f"{reason}; expected a folder, or the id of a model on the hub"
            )
    return list(dict.fromkeys(sentences))


def _named(config: Config) -> Iterator[tuple[str, str, HubFile]]:
    """Yield the stage and key of each hub id, and a file that it must have."""
    for editor in config.editors:
        for wanted in editor.on_hub():
            yield "edit", f"editors[{config.place(editor)}].{wanted.field}", wanted
    for folder, judge in config.each_judge.items():
        for wanted in judge.on_hub():
            for stage in ("score",) if folder else ("score", "anchors", "pairs"):
                yield stage, f"{judge.option}.{wanted.field}", wanted


def _near(name: str) -> str:
    """Return where a folder is not, and what is like it there; '' without its parent."""
    parent = Path(name).parent
    if not parent.is_dir():
        return ""
    names = [path.name for path in parent.iterdir() if path.is_dir()]
    return f" in the folder {str(parent)!r}{suggest(Path(name).name, names)}"


@cache
def _reason(name: str, revision: str | None, file: str) -> str | None:
    """Return why a model may not be there, for the middle of a sentence; None if it is."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        if not isinstance(hub.try_to_load_from_cache(name, file, revision=revision), str):
            hub.get_hf_file_metadata(hub.hf_hub_url(name, file, revision=revision), timeout=SECONDS)
        return None
    except errors.HFValidationError:
        return "it is no id of a model either"
    except errors.OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE keeps from asking the hub"
    except errors.GatedRepoError:
        return "the hub gives it only to those who were granted access (HF_TOKEN)"
    except errors.RepositoryNotFoundError:
        return "the hub has no such model, or a private one (HF_TOKEN)"
    except errors.RevisionNotFoundError:
        return f"the hub has it without the revision {revision!r}"
    except errors.EntryNotFoundError:
        return f"the hub has it without a file {file!r}"
    except Exception as error:
        # proxies and certificates fail in many ways; the job that downloads it would meet them all
        return f"the hub does not answer ({type(error).__name__}: {' '.join(str(error).split())})"
