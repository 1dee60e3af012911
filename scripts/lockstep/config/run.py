"""Typed configuration: what a user may say in `config/*.yaml`, and one sentence for what not."""

import json
from functools import cache
from typing import Annotated, Any, TypeVar, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    SerializeAsAny,
    TypeAdapter,
    model_validator,
)

from lockstep import plan
from lockstep.benchmark.categories import RESERVED
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.config import backends
from lockstep.config.cluster import ClusterSettings
from lockstep.config.metrics import MetricsSettings
from lockstep.config.rating import RatingSettings
from lockstep.config.report import CompareSettings, ReportSettings, threshold_of_one_scale
from lockstep.config.section import PathText, PlainPath, Section
from lockstep.devices.settings import DeviceSettings
from lockstep.editors.settings import EditorSettings
from lockstep.errors import ConfigError
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import BackendSettings

B = TypeVar("B", bound=BackendSettings)


def _editor(given: Any) -> EditorSettings:
    return _of_kinds(given, EditorSettings, tuple(backends.known().editors.values()))


def _judge(given: Any) -> JudgeSettings:
    return _of_kinds(given, JudgeSettings, tuple(backends.known().judges.values()))


def _of_kinds(given: Any, base: type[B], kinds: tuple[type[B], ...]) -> B:
    """Return settings as the kind that their `type` names."""
    return given if isinstance(given, base) else _adapter(kinds).validate_json(json.dumps(given))


@cache
def _adapter(kinds: tuple[type[B], ...]) -> TypeAdapter[B]:
    union: Any = Annotated[Union[kinds], Field(discriminator="type")]  # noqa: UP007
    return TypeAdapter(union)


def _loaded(plugins: tuple[str, ...]) -> tuple[str, ...]:
    for path in plugins:
        try:
            backends.load(path)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    return plugins


Plugins = Annotated[tuple[PathText, ...], AfterValidator(_loaded)]
"""Files that are imported as soon as they are read, before what they offer."""
AnyEditor = Annotated[SerializeAsAny[EditorSettings], BeforeValidator(_editor)]
AnyJudge = Annotated[SerializeAsAny[JudgeSettings], BeforeValidator(_judge)]
Results = Annotated[PlainPath, Field(pattern=r"^[^{}]+$", description="Folder of all outputs.")]


class Config(Section):
    """The whole configuration."""

    results: Results = "results"
    seed: NonNegativeInt = Field(
        0, description="Base seed; a sample's seed follows from it and the id."
    )
    benchmark: BenchmarkSettings
    plugins: Plugins = Field(
        (),
        description="Python files that offer further kinds of editors and judges; they are run, so "
        "name only those that you trust.",
    )
    editors: tuple[AnyEditor, ...] = Field(
        description="Editors to compare; results stand side by side."
    )
    judge: AnyJudge = Field(description="Who scores.")
    devices: DeviceSettings = DeviceSettings()
    cluster: ClusterSettings | None = Field(
        None, description="What jobs on a cluster ask for; null runs on this machine."
    )
    metrics: MetricsSettings = MetricsSettings()
    report: ReportSettings = ReportSettings()
    rating: RatingSettings = RatingSettings()
    compare: CompareSettings | None = Field(None, description="What `snakemake compare` compares.")

    @model_validator(mode="after")
    def _distinct_editors(self) -> "Config":
        if not self.editors:
            raise ValueError("editors: expected at least one editor, found an empty list")
        names = [*(editor.name for editor in self.editors), *self.series]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"editors: expected each name once, found {twice[0]!r} twice")
        reserved = {*RESERVED, *(n for c in self.benchmark.named.values() for n in c.names)}
        for name in names:
            if name in reserved:
                raise ValueError(f"editors: found name {name!r}, which the workflow uses itself")
        return self

    @model_validator(mode="after")
    def _given_devices(self) -> "Config":
        if self.cluster is not None and self.devices.device_ids != "auto":
            raise ValueError(
                f"devices.device_ids: expected auto, found {list(self.devices.device_ids)} beside "
                "cluster, where jobs take the devices that they are given"
            )
        return self

    @model_validator(mode="after")
    def _one_scale(self) -> "Config":
        threshold_of_one_scale(self.report, self.compare)
        return self

    @property
    def node_local(self) -> str | None:
        """Folder on a disk of each node, to which models are copied; None copies nothing."""
        return None if self.cluster is None else self.cluster.node_local

    def for_jobs(self) -> dict[str, Any]:
        """Return what every job on a device is told."""
        return {
            "results": self.results,
            "plugins": self.plugins,
            "settings": self.devices,
            "node_local": self.node_local,
            "resident": self.devices.resident and self.cluster is None,
        }

    @property
    def series(self) -> dict[str, list[str]]:
        """Names of the editors of each training run's checkpoints, in the order of their steps."""
        found: dict[str, list[str]] = {}
        for editor in self.editors:
            if editor.member is not None:
                found.setdefault(editor.member.name, []).append(editor.name)
        return found

    def place(self, editor: EditorSettings) -> int:
        """Return an editor's place in the list that was given, where a series is one entry."""
        given = dict.fromkeys(e.member.name if e.member else e.name for e in self.editors)
        return list(given).index(editor.member.name if editor.member else editor.name)

    def share(self, editor: str) -> int:
        """Return how many shards of an editor's edits one shard of scores judges."""
        return plan.share(self.editor(editor).together, self.judge.together)

    def editor(self, name: str) -> EditorSettings:
        return next(editor for editor in self.editors if editor.name == name)


class Comparison(Section):
    """A configuration that only compares what is there."""

    results: Results = "results"
    compare: CompareSettings
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _one_scale(self) -> "Comparison":
        threshold_of_one_scale(self.report, self.compare)
        return self
