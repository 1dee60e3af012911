"""Jobs that run on a device: what each is to do, as it is sent to the process that does it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lockstep import layout, plan
from lockstep.config.run import AnyEditor, AnyJudge, Plugins
from lockstep.devices.device import Device, split
from lockstep.devices.settings import DeviceSettings


class _OnDevice(BaseModel):
    """What all jobs share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: str
    """Folder of all outputs."""
    plugins: Plugins = ()
    """Files that offer kinds of editors and judges, known before those are read."""
    settings: DeviceSettings
    devices: tuple[Device, ...]
    """Devices of all shards."""
    shard: int
    node_local: str | None = None
    """Folder on a disk of each node, to which models are copied; None copies nothing."""
    resident: bool
    """Whether its model stays on the device for the next job."""
    log: str
    """The job's log file."""

    @property
    def backend(self) -> AnyEditor | AnyJudge:
        """Whose model it runs."""
        raise NotImplementedError

    @property
    def model_name(self) -> str:
        """What that model is called."""
        raise NotImplementedError

    @property
    def groups(self) -> list[Sequence[Device]]:
        """The devices of each job of its kind."""
        raise NotImplementedError

    @property
    def own(self) -> Sequence[Device]:
        return self.groups[self.shard]


class EditJob(_OnDevice):
    """Edit one shard of a category on its device or devices."""

    kind: Literal["edit"] = "edit"
    editor: AnyEditor
    category: str
    seed: int
    """Base seed."""
    slots: int
    """Shards that can run at a time."""
    run: str
    """Name of the invocation."""
    first: int
    """Place of the category's first sample among those of all categories."""

    @property
    def backend(self) -> AnyEditor:
        return self.editor

    @property
    def groups(self) -> list[Sequence[Device]]:
        return split(self.devices, self.editor.together)

    @property
    def model_name(self) -> str:
        return self.editor.held.name


class _Judging(_OnDevice):
    judge: AnyJudge

    @property
    def backend(self) -> AnyJudge:
        return self.judge

    @property
    def model_name(self) -> str:
        return self.judge.called

    @property
    def groups(self) -> list[Sequence[Device]]:
        return split(self.devices, self.judge.together)


class ScoreJob(_Judging):
    """Judge the edits of one shard on its device or devices."""

    kind: Literal["score"] = "score"
    editor: str
    """Name of the editor whose edits are judged."""
    edited_by: int = 1
    """Devices of one job that edits."""
    category: str
    seed: int
    """Base seed, of which several judgements of an edit have theirs."""
    rubric: str
    """File of the category's rubric."""
    below: str = ""
    """Folder of the judge among others; the first one has none."""

    @property
    def share(self) -> int:
        """How many shards of edits it judges."""
        return plan.share(self.edited_by, self.judge.together)

    @property
    def groups(self) -> list[Sequence[Device]]:
        shared = split(self.devices, self.share * self.edited_by)
        return [devices[: self.judge.together] for devices in shared]

    @property
    def edits(self) -> list[Path]:
        """Records of the edits to judge."""
        own = (Path(self.results), self.editor, self.category)
        shards = plan.edit_shards(self.shard, self.share)
        return [layout.edits(*own, k, len(self.devices) // self.edited_by) for k in shards]


class AnchorJob(_Judging):
    """Judge the anchor set again."""

    kind: Literal["anchors"] = "anchors"
    rubrics: dict[str, str]
    """File of each category's rubric."""


class PairJob(_Judging):
    """Compare one shard of a round's pairs of a category."""

    kind: Literal["pairs"] = "pairs"
    category: str
    round: int
    """Number of the round, from 0."""
    edits: dict[str, tuple[str, ...]]
    """Records of the category's edits by editor."""


Job = Annotated[EditJob | ScoreJob | AnchorJob | PairJob, Field(discriminator="kind")]


class Request(BaseModel):
    """What a job sends to its worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["job"] = "job"
    job: Job
    later: tuple[Job, ...] = ()
    """Jobs of the same model that come after it on the same devices, in their order."""
    last: bool = False
    """Whether it is known that none does, and that another model comes next."""
