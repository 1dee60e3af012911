"""Typed configuration: what a user may say in `config/*.yaml`, and one sentence for what not."""

import json
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lockstep.categories import BY_FORMAT, Categories, categories_of, category_key
from lockstep.config_cluster import Cluster as Cluster
from lockstep.config_editors import (
    KINDS,
    MERGED,
    PRESETS,
    AnyEditor,
    DiffusersEditor,
    PrecomputedEditor,
)
from lockstep.config_editors import Adapter as Adapter
from lockstep.config_editors import Editor as Editor
from lockstep.config_editors import IdentityEditor as IdentityEditor
from lockstep.config_judges import (
    JUDGES,
    AnyJudge,
    PrecomputedJudge,
    Qwen3VLJudge,
)
from lockstep.config_judges import Judge as Judge
from lockstep.config_judges import OpenAIJudge as OpenAIJudge
from lockstep.config_report import Compare as Compare
from lockstep.config_report import Report as Report
from lockstep.config_report import threshold_of_one_scale
from lockstep.config_section import PathText, PlainPath, Seconds, Section, is_folder
from lockstep.errors import BenchmarkError, ConfigError, suggest
from lockstep.images import MAX_PIXELS, WHITE, parse_colour
from lockstep.weights import check_judge, check_model, read_header
from lockstep.yaml_files import read_yaml


class Benchmark(Section):
    """What is edited."""

    path: PathText = Field(description="Benchmark file, or folder of one.")
    format: Literal["auto", "re-edit", "gedit", "imgedit", "kris", "rise", "uniredit", "table"] = (
        Field("auto", description="Format; auto tells it by the first item.")
    )
    images: PlainPath | None = Field(
        None,
        description="Folder, tar or zip of images that are named by path; null is where the "
        "benchmark is.",
    )
    categories: tuple[str, ...] | None = Field(
        None,
        validate_default=True,
        description="Categories to run, by key or Chinese name; null takes all of the format. "
        "uniredit and table have their own and need them named.",
    )
    language: Literal["en", "zh"] = Field("en", description="Language of the instruction.")
    language_fallback: bool = Field(
        False, description="Take the other language where the configured one is empty (re-edit)."
    )
    intersection: bool = Field(
        False, description="Take only what all models of the benchmark's paper edited (gedit)."
    )
    limit: PositiveInt | None = Field(
        None, description="Take only the first n samples of each category."
    )
    max_pixels: PositiveInt = Field(
        MAX_PIXELS, description="Largest source image, in pixels; larger ones are rejected."
    )
    background: Annotated[str, AfterValidator(parse_colour)] = Field(
        WHITE,
        description="Colour under transparent images, as `#rrggbb` or a CSS name.",
    )
    strict: bool = Field(False, description="Stop at the first rejected sample.")

    @model_validator(mode="before")
    @classmethod
    def _told(cls, data: Any) -> Any:
        """Put the format that the file has in the place of auto."""
        if not isinstance(data, dict) or data.get("format", "auto") != "auto":
            return data
        path = os.path.expanduser(str(data.get("path") or ""))
        if not os.path.exists(path):
            # what is missing is told later, and what the workflow makes itself is in this format
            return {**data, "format": "re-edit"}
        # readers take a benchmark's settings, which are defined here
        from lockstep.benchmark.detect import detect

        return {**data, "format": _sentence_of(BenchmarkError, detect, Path(path))}

    @field_validator("categories")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        form = info.data.get("format")
        if form is None:
            return names
        known = BY_FORMAT[form]
        if known is None:
            keys = _own(names, info.data)
        else:
            keys = tuple(
                _sentence_of(ConfigError, category_key, name, known)
                for name in (known if names is None else names)
            )
        if not keys:
            raise ValueError("found an empty list, accepted is at least one category, or null")
        if len(set(map(str.casefold, keys))) < len(keys):
            raise ValueError(f"found a category twice in {list(keys)}, accepted is each once")
        return keys

    @model_validator(mode="after")
    def _spoken(self) -> "Benchmark":
        if self.language == "zh" and self.format in ("imgedit", "kris", "rise", "uniredit"):
            raise ValueError(
                f"language: found 'zh', but the format {self.format} has English instructions only"
            )
        return self

    @property
    def named(self) -> Categories:
        """The categories to run, with all their names."""
        return categories_of(self.format, self.categories)

    @property
    def images_path(self) -> Path:
        """Folder or archive of the images that are named by path."""
        if self.images is not None:
            return Path(self.images)
        path = Path(self.path)
        return path if path.is_dir() else path.parent


def _own(names: tuple[str, ...] | None, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the categories of a benchmark that has a list of its own."""
    if names is None:
        from lockstep.benchmark.detect import own_categories

        path = Path(data["path"])
        found = _sentence_of(BenchmarkError, own_categories, path, data["format"])
        raise ValueError(
            f"found nothing, accepted is a list of them; the first items have {found[:60]}"
        )
    keys = tuple(unicodedata.normalize("NFC", name) for name in names)
    for key in keys:
        if key in RESERVED or not re.fullmatch(r"\w[\w.-]{0,63}", key):
            accepted = "letters, digits, '.', '_' and '-' and none of the workflow's own names"
            raise ValueError(f"found {key!r}, accepted are {accepted}")
    return keys


def _sentence_of(kind: type[Exception], function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns; what it refuses becomes a mistake in the configuration."""
    try:
        return function(*arguments)
    except kind as error:
        raise ValueError(str(error)) from None


class Devices(Section):
    """Where it runs, and how the devices keep step."""

    device_ids: Literal["auto"] | tuple[NonNegativeInt | str, ...] = Field(
        "auto", description="GPUs by number or UUID (or numbers of CPU slots); auto takes all."
    )
    accelerator: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="auto takes GPUs where there are any, else CPU slots."
    )
    enable_batch_sync: bool = Field(
        True, description="Edit in lockstep waves of one image per device."
    )
    max_wave_lead: NonNegativeInt = Field(
        0, description="Waves that a device may be ahead of the slowest."
    )
    join_timeout: Seconds = Field(
        600.0, description="Seconds to wait at the first wave for devices that still load."
    )
    heartbeat_timeout: Seconds = Field(
        60.0,
        description="Seconds of silence after which a device on another host, or the process that "
        "holds a device's model, counts as dead.",
    )
    resident: bool = Field(
        True,
        description="Keep models on their devices from job to job, where all jobs run on this "
        "machine.",
    )
    idle_timeout: Seconds = Field(
        600.0, description="Seconds without work after which a device's model is let go."
    )
    when_busy: Literal["stop", "wait"] = Field(
        "stop", description="What to do where another run of yours on this machine uses a GPU."
    )
    load_concurrency: PositiveInt | None = Field(
        None, description="Models loaded at a time on one host; null sets no limit."
    )
    compile_cache: PathText = Field(
        "~/.cache/lockstep",
        validate_default=True,
        description="Folder of what is compiled for GPUs, kept from run to run.",
    )

    @field_validator("device_ids")
    @classmethod
    def _distinct(cls, ids: Any) -> Any:
        if ids == "auto":
            return ids
        if not ids:
            raise ValueError("found an empty list, accepted is at least one device, or auto")
        texts = list(map(str, ids))
        twice = {i for i in texts if texts.count(i) > 1}
        if twice:
            listed = ", ".join(sorted(twice))
            raise ValueError(f"found device {listed} listed twice, accepted is each once")
        return ids


Results = Annotated[PlainPath, Field(pattern=r"^[^{}]+$", description="Folder of all outputs.")]


class Config(Section):
    """The whole configuration."""

    results: Results = "results"
    seed: NonNegativeInt = Field(
        0, description="Base seed; a sample's seed follows from it and the id."
    )
    benchmark: Benchmark
    editors: tuple[AnyEditor, ...] = Field(
        description="Editors to compare; results stand side by side."
    )
    judge: AnyJudge = Field(description="Who scores.")
    devices: Devices = Devices()
    cluster: Cluster | None = Field(
        None, description="What jobs on a cluster ask for; null runs on this machine."
    )
    report: Report = Report()
    compare: Compare | None = Field(None, description="What `snakemake compare` compares.")

    @model_validator(mode="after")
    def _distinct_editors(self) -> "Config":
        if not self.editors:
            raise ValueError("editors: found an empty list, accepted is at least one editor")
        names = [editor.name for editor in self.editors]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"editors: found name {twice[0]!r} twice, accepted is each once")
        reserved = {*RESERVED, *(n for c in self.benchmark.named.values() for n in c.names)}
        for name in names:
            if name in reserved:
                raise ValueError(f"editors: found name {name!r}, which the workflow uses itself")
        return self

    @model_validator(mode="after")
    def _given_devices(self) -> "Config":
        if self.cluster is not None and self.devices.device_ids != "auto":
            raise ValueError(
                f"devices.device_ids: found {list(self.devices.device_ids)} beside cluster, where "
                "jobs take the devices that they are given; accepted is auto"
            )
        return self

    @model_validator(mode="after")
    def _one_scale(self) -> "Config":
        threshold_of_one_scale(self.report, self.compare)
        return self

    def editor(self, name: str) -> AnyEditor:
        return next(editor for editor in self.editors if editor.name == name)


class Comparison(Section):
    """A configuration that only compares what is there."""

    results: Results = "results"
    compare: Compare
    report: Report = Report()

    @model_validator(mode="after")
    def _one_scale(self) -> "Comparison":
        threshold_of_one_scale(self.report, self.compare)
        return self


RESERVED = frozenset(
    {"all", "edit", "logs", "manifest", "prepare", "report", "score"}
    | {"tabulate", "tiny", "tiny_models", "agreement", "anchor_set", "anchors", "bundle", "compare"}
    | {"import", "rejected", "protocol", "overall"}
)
"""Names of targets, rules, folders and files, which no editor and no category can take."""


def load_config(data: Mapping[str, Any], source: str, produced: Collection[str] = ()) -> Config:
    """Return the typed configuration of what a YAML file and the command line gave.

    The files that it names are looked for.

    Args:
        data: the configuration as plain values.
        source: what to call it in messages, usually the file's path.
        produced: paths that the workflow makes itself, which need not exist yet.

    Raises:
        ConfigError: with a sentence for each mistake.
    """
    benchmark = data.get("benchmark")
    path = benchmark.get("path") if isinstance(benchmark, Mapping) else None
    # its contents tell the format, and which categories there are
    if isinstance(path, str) and path:
        _need(os.path.expanduser(path), "benchmark.path", source, produced)
    config = _typed(data, source)
    _check_files(config, source, produced)
    return config


def of_job(data: Mapping[str, Any]) -> Config:
    """Return the typed configuration of a run in one of its jobs.

    The run has looked for the files that it names. A job may run before those of others are made.
    """
    return _typed(data, "configuration")


def _typed(data: Mapping[str, Any], source: str) -> Config:
    data = dict(data)
    editors = data.get("editors")
    if isinstance(editors, Sequence) and not isinstance(editors, str):
        data["editors"] = [_with_preset(editor, source) for editor in editors]
    return _validated(Config, data, source)


def load_comparison(data: Mapping[str, Any], source: str) -> Comparison:
    """Return the typed configuration of a comparison; arguments and errors as above."""
    return _validated(Comparison, data, source)


S = TypeVar("S", bound=Section)


def _validated(kind: type[S], data: Mapping[str, Any], source: str) -> S:
    try:
        return kind.model_validate_json(json.dumps(data))
    except ValidationError as error:
        sentences = _sentences([dict(item) for item in error.errors()])
        raise ConfigError("\n".join(f"{source}: {text}" for text in sentences)) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: found a value that YAML alone can hold ({error})") from None


def _with_preset(editor: Any, source: str) -> Any:
    if not isinstance(editor, Mapping) or not isinstance(editor.get("preset"), str):
        return editor
    path = PRESETS / f"{editor['preset']}.yaml"
    names = sorted(file.stem for file in PRESETS.glob("*.yaml"))
    if editor["preset"] not in names:
        raise ConfigError(
            f"{source}: editors: found preset {editor['preset']!r}"
            f"{suggest(editor['preset'], names)}, accepted are {', '.join(names)}"
        )
    merged = read_yaml(path, ConfigError)
    for key, value in editor.items():
        if key in MERGED and isinstance(value, Mapping):
            value = {**merged.get(key, {}), **value}
        merged[key] = value
    return merged


def _need(path: str, key: str, source: str, produced: Collection[str]) -> None:
    path = os.path.normpath(path)
    if path not in map(os.path.normpath, produced) and not os.path.exists(path):
        raise ConfigError(f"{source}: {key}: found no file {path!r}")


def _need_some(folder: str, suffixes: tuple[str, ...], key: str, source: str) -> None:
    """Refuse a folder without a file of some kind; it would only fail each sample."""
    try:
        with os.scandir(folder) as entries:
            if any(entry.name.lower().endswith(suffixes) for entry in entries):
                return
        kinds = f" ending in {', '.join(suffixes)}" if any(suffixes) else ""
        found = f"no file{kinds} in {folder!r}"
    except OSError as error:
        found = f"{folder!r}, which is no folder that can be read ({error.strerror})"
    raise ConfigError(f"{source}: {key}: found {found}, expected a folder with one for each sample")


def _check_files(config: Config, source: str, produced: Collection[str]) -> None:
    def need(key: str, *parts: str) -> None:
        _need(os.path.join(*parts), key, source, produced)

    for path in (Path(config.results), *Path(config.results).parents):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{source}: results: found a file {str(path)!r}, expected a folder")

    def whole(key: str, check: Callable[[str], Any], *parts: str) -> None:
        need(key, *parts)
        path = os.path.normpath(os.path.join(*parts))
        # one that is made now may be half there
        if path not in map(os.path.normpath, produced):
            try:
                check(parts[0])
            except ConfigError as error:
                raise ConfigError(f"{source}: {key}: {error}") from None

    if config.benchmark.images is not None:
        need("benchmark.images", config.benchmark.images)
        if Path(config.benchmark.images).is_dir():
            _need_some(config.benchmark.images, ("",), "benchmark.images", source)
    folders = config.benchmark.format in ("kris", "gedit", "table")
    if Path(config.benchmark.path).is_dir() and not folders:
        raise ConfigError(
            f"{source}: benchmark.path: found a folder {config.benchmark.path!r}, "
            "accepted is a file"
        )
    _check_editors(config, source, need, whole)
    _check_judge(config, source, need, whole)
    if config.report.human_scores is not None:
        need("report.human_scores", config.report.human_scores)


def _check_editors(
    config: Config, source: str, need: Callable[..., None], whole: Callable[..., None]
) -> None:
    # editors take the configuration, which is defined here
    from lockstep.editors.precomputed import SUFFIXES

    for number, editor in enumerate(config.editors):
        if isinstance(editor, DiffusersEditor) and is_folder(editor.model):
            whole(f"editors[{number}].model", check_model, editor.model, "model_index.json")
        for place, adapter in enumerate(getattr(editor, "adapters", ())):
            if adapter.file is not None:
                whole(f"editors[{number}].adapters[{place}].path", read_header, adapter.file)
        if isinstance(editor, PrecomputedEditor):
            need(f"editors[{number}].folder", editor.folder)
            _need_some(editor.folder, SUFFIXES, f"editors[{number}].folder", source)


def _check_judge(
    config: Config, source: str, need: Callable[..., None], whole: Callable[..., None]
) -> None:
    match config.judge:
        case Qwen3VLJudge(model=model) if is_folder(model):
            whole("judge.model", check_judge, model, "config.json")
        case PrecomputedJudge(scores=None, folder=str(folder)):
            for editor in config.editors:
                need("judge.folder", folder, editor.name)
                _need_some(f"{folder}/{editor.name}", (".txt",), "judge.folder", source)
        case PrecomputedJudge(scores=scores):
            need("judge.scores", scores)
    if config.judge.anchors is not None:
        need("judge.anchors", config.judge.anchors, "anchors.jsonl")
        need("judge.anchors", config.judge.anchors, "recorded.jsonl")
        if Path(config.judge.anchors).resolve() == Path(config.results, "anchor_set").resolve():
            raise ConfigError(
                f"{source}: judge.anchors: found {config.judge.anchors!r}, which is made anew of "
                "each run, accepted is a copy of it elsewhere"
            )
    for category in config.benchmark.categories:
        file = config.judge.rubric_file(category)
        if not Path(file).is_file():
            raise ConfigError(
                f"{source}: judge.rubrics: found no file {file!r}, the rubric of {category!r}; "
                "expected a file for each category, or the path of one .yaml file for all"
            )


def _sentences(errors: list[dict[str, Any]]) -> list[str]:
    """Return one sentence per place; a union's arms report theirs separately."""
    places: dict[str, list[dict[str, Any]]] = {}
    for error in errors:
        places.setdefault(_place(error["loc"]), []).append(error)
    sentences = []
    for where, found in places.items():
        deepest = max(len(error["loc"]) for error in found)
        found = [error for error in found if len(error["loc"]) == deepest]
        sentences.append(_sentence(where, found))
    return sentences


def _place(location: Sequence[Any]) -> str:
    where = ""
    for number, step in enumerate(location):
        if number and _is_tag(step, location[number - 1]):
            continue
        # the arms of a union are pydantic's names, not the user's keys
        if isinstance(step, str) and not step.isidentifier():
            break
        where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else step
    return where


def _is_tag(step: Any, before: Any) -> bool:
    """Tell whether a step of an error's location names the kind of an editor or of the judge."""
    return (step in KINDS and isinstance(before, int)) or (step in JUDGES and before == "judge")


def _sentence(where: str, errors: list[dict[str, Any]]) -> str:
    error = errors[0]
    found = json.dumps(error.get("input"), ensure_ascii=False, default=str)
    found = found if len(found) <= 80 else found[:77] + "…"
    accepted_kinds = JUDGES if where == "judge" else KINDS
    kinds = ", ".join(accepted_kinds)
    match error["type"]:
        case "extra_forbidden":
            fields = _fields_at(error["loc"][:-1])
            close = suggest(str(error["loc"][-1]), fields)
            return f"{where}: found an unknown key{close}, accepted are {', '.join(fields)}"
        case "missing":
            return f"{where}: found nothing, a value is needed"
        case "union_tag_not_found":
            return f"{where}.type: found nothing, accepted are {kinds}"
        case "union_tag_invalid":
            tag = error["ctx"]["tag"]
            close = suggest(tag, accepted_kinds)
            return f"{where}.type: found {tag!r}{close}, accepted are {kinds}"
        case "string_pattern_mismatch" if where == "results":
            return f"{where}: found {found}, accepted is a path without braces"
        case "string_pattern_mismatch" if where == "judge.api_key_variable":
            # it may be the key itself, so it is not shown
            return f"{where}: found something else, accepted is a variable's name, in capitals"
        case "string_pattern_mismatch":
            accepted = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
            return f"{where}: found {found}, accepted are {accepted}"
        case "value_error":
            text = str(error["ctx"]["error"])
            return f"{where}: {text}" if where else text
        case _:
            messages = (re.split(", (?:got|unable) ", e["msg"])[0] for e in errors)
            words = r"^\w+ should (be|have) | after validation.*"
            accepted = dict.fromkeys(re.sub(words, "", text) for text in messages)
            return f"{where}: found {found}, accepted is {' or '.join(accepted)}"


def _fields_at(location: Sequence[Any]) -> list[str]:
    """Return the keys that the section at an error's location accepts."""
    section: Any = Config
    for number, step in enumerate(location):
        before = location[number - 1] if number else None
        if _is_tag(step, before):
            section = (JUDGES if before == "judge" else KINDS)[step]
        elif step in section.model_fields:
            section = section_in(section.model_fields[step].annotation)
    return list(section.model_fields)


def section_in(annotation: Any) -> Any:
    """Return the first section that a field's annotation names; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = map(section_in, get_args(annotation))
    return next((section for section in found if section is not None), None)
