"""Typed configuration: what a user may say in `config/*.yaml`, and one sentence for what not."""

import json
from functools import cache
from typing import Annotated, Any, TypeVar, Union, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from lockstep import layout, plan
from lockstep.benchmark.categories import RESERVED
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.config import backends
from lockstep.config.cluster import ClusterSettings
from lockstep.config.metrics import MetricsSettings
from lockstep.config.rating import RatingSettings
from lockstep.config.report import CompareSettings, ReportSettings, check_threshold
from lockstep.config.section import MAX_LENGTH, PathText, PlainPath, Section, check_once
from lockstep.devices.settings import DeviceSettings
from lockstep.editors.settings import EditorSettings
from lockstep.errors import ConfigError
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import BackendSettings
from lockstep.rubrics.rubric import SCALE

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
Results = Annotated[
    PlainPath, Field(pattern=r"^[^{}]+$", description="Folder for everything that a run makes.")
]


class Config(Section):
    """The whole configuration."""

    results: Results = "results"
    seed: NonNegativeInt = Field(
        0, description="Base seed. A sample's seed follows from it and from the sample's id."
    )
    seeds_per_sample: PositiveInt = Field(
        1,
        le=100,
        description="How many times each editor edits each sample, each time with another seed.",
    )
    benchmark: BenchmarkSettings
    plugins: Plugins = Field(
        (),
        description="Python files with further types of editors and judges. They are executed, so "
        "name only files that you trust.",
    )
    editors: tuple[AnyEditor, ...] = Field(
        description="Editors to compare. Their results stand side by side."
    )
    judge: AnyJudge = Field(
        cast(Any, None),
        description="The judge, which scores the edits. Needed unless `judges` is given.",
    )
    judges: tuple[AnyJudge, ...] = Field(
        (),
        description="Several judges in place of `judge`, each with the keys of `judge` and a name. "
        "Editors are ranked by the first judge.",
    )
    devices: DeviceSettings = DeviceSettings()
    cluster: ClusterSettings | None = Field(
        None, description="Requests of jobs on a cluster; null runs everything on this machine."
    )
    metrics: MetricsSettings = MetricsSettings()
    report: ReportSettings = ReportSettings()
    rating: RatingSettings = RatingSettings()
    compare: CompareSettings | None = Field(
        None, description="The results that `snakemake compare` compares."
    )

    @field_validator("editors")
    @classmethod
    def _with_all_seeds(
        cls, editors: tuple[EditorSettings, ...], info: ValidationInfo
    ) -> tuple[EditorSettings, ...]:
        """Put each editor's further seeds after it; some may be there already."""
        given = {(editor.first_seed, editor.seed_number): editor for editor in editors}
        for name, _ in given:
            if (name, 0) not in given:
                raise ValueError(f"expected an editor {name!r} beside its further seeds")
        numbers = range(info.data.get("seeds_per_sample", 1))
        found = (
            (number and given.get((editor.name, number))) or editor.with_seed(number)
            for editor in editors
            if editor.further_seed is None
            for number in numbers
        )
        known = tuple(editor for editor in found if editor is not None)
        for name in (editor.name for editor in known):
            if len(name) > MAX_LENGTH:
                raise ValueError(
                    f"expected names of at most {MAX_LENGTH} characters, seeds included, found "
                    f"{name!r}, which has {len(name)} characters"
                )
        return known

    @model_validator(mode="after")
    def _distinct_editors(self) -> "Config":
        if not self.editors:
            raise ValueError("editors: expected at least one editor, found an empty list")
        names = [*(editor.name for editor in self.editors), *self.series]
        check_once("editors", names)
        reserved = {*RESERVED, *(n for c in self.benchmark.named.values() for n in c.names)}
        for name in names:
            if name.casefold() in map(str.casefold, reserved):
                raise ValueError(
                    f"editors: found name {name!r}, which the workflow uses itself; expected "
                    "another one"
                )
        return self

    @model_validator(mode="after")
    def _one_or_several_judges(self) -> "Config":
        given = {"judge", "judges"} & self.model_fields_set
        if not given:
            raise ValueError("judge: expected a value, found nothing")
        if len(given) == 2:
            raise ValueError("judges: expected judge or judges, found both")
        if "judges" in given:
            self._check_judges()
            # the section is frozen, and only what was given is written down
            self.__dict__["judge"] = self.judges[0]
        if self.report.ensemble and len(self.judges) < 2:
            raise ValueError("report.ensemble: expected several judges beside it, found one")
        return self

    def _check_judges(self) -> None:
        if not self.judges:
            raise ValueError("judges: expected at least one judge, found an empty list")
        categories = [name for own in self.benchmark.named.values() for name in own.names]
        taken = {*RESERVED, *categories, *(e.name for e in self.editors), *self.series}
        taken = set(map(str.casefold, taken))
        for place, judge in enumerate(self.judges):
            name = judge.name
            if name is None:
                raise ValueError(f"judges[{place}].name: expected a value, found nothing")
            check_once("judges", [str(own.name) for own in self.judges[: place + 1]])
            form = name.casefold()
            # it has a target, a rule, and folders beside what the first judge has there
            if {form, f"score_{form}"} & taken or layout.OF_JUDGEMENTS.match(form):
                raise ValueError(
                    f"judges: found name {name!r}, which the workflow uses itself; expected "
                    "another one"
                )
            for field in ("anchors", "pairs") if place else ():
                if given := getattr(judge, field):
                    raise ValueError(
                        f"judges[{place}].{field}: expected none but at the first judge, "
                        f"found {str(given).lower()}"
                    )
            taken |= {form, f"score_{form}"}

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        found.pop("judge" if self.judges else "judges", None)
        return found

    @model_validator(mode="after")
    def _with_effect(self) -> "Config":
        """Refuse settings that another one leaves without effect."""
        if len(self.editors) == 1 and self.rating.mode == "pairs":
            raise ValueError("rating.mode: expected criteria with one editor, found pairs")
        if len(self.seeds) == 1 and self.judge.pairs:
            raise ValueError(
                f"{self.judge.option}.pairs: expected false with one editor, found true"
            )
        if self.report.human_scales and not self.report.human_files:
            raise ValueError(
                "report.human_scales: expected a file in report.human_scores beside it, found none"
            )
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
    def _threshold_on_scale(self) -> "Config":
        check_threshold(self.report, self.compare, SCALE)
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
            if editor.member is not None and editor.further_seed is None:
                found.setdefault(editor.member.name, []).append(editor.name)
        return found

    @property
    def seeds(self) -> dict[str, list[str]]:
        """Names of each editor with all its seeds, the first of them first."""
        found: dict[str, list[str]] = {}
        for editor in self.editors:
            found.setdefault(editor.first_seed, []).append(editor.name)
        return found

    @property
    def targets(self) -> dict[str, list[str]]:
        """Names of the editors that each name stands for: of one, all its seeds, of a series."""
        own = {editor.name: [editor.name] for editor in self.editors}
        series = {
            name: [seed for member in members for seed in self.seeds[member]]
            for name, members in self.series.items()
        }
        return own | self.seeds | series

    def place(self, editor: EditorSettings) -> int:
        """Return an editor's place in the list that was given, where a series is one entry."""

        def given(own: EditorSettings) -> str:
            return own.member.name if own.member else own.first_seed

        return list(dict.fromkeys(map(given, self.editors))).index(given(editor))

    @property
    def each_judge(self) -> dict[str, AnyJudge]:
        """All judges in their order, by the folder of their scores; the first one has none ("")."""
        return {"": self.judge, **{str(judge.name): judge for judge in self.judges[1:]}}

    def share(self, editor: str, judge: str = "") -> int:
        """Return how many shards of an editor's edits one shard of scores judges.

        Args:
            judge: which of `each_judge`.
        """
        return plan.share(self.editor(editor).together, self.each_judge[judge].together)

    def editor(self, name: str) -> EditorSettings:
        return next(editor for editor in self.editors if editor.name == name)


class Comparison(Section):
    """A configuration that only compares what is there."""

    results: Results = "results"
    compare: CompareSettings
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _threshold_on_scale(self) -> "Comparison":
        check_threshold(self.report, self.compare, self.compare.scale)
        return self
