"""What a user may say of the devices."""

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from lockstep.config.section import PathText, Seconds, Section

Schedule = Literal["lockstep", "free", "queue"]
"""How the devices share a category's samples."""


class DeviceSettings(Section):
    """The devices, and how they keep step."""

    device_ids: Literal["auto"] | tuple[NonNegativeInt | str, ...] = Field(
        "auto",
        description="GPUs by number or UUID, or numbers of CPU slots; auto takes all visible GPUs.",
    )
    accelerator: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="auto takes GPUs if there are any, otherwise CPU slots."
    )
    schedule: Schedule = Field(
        "lockstep",
        description="lockstep: waves of one image on each device. free: no device waits for "
        "another. queue: the next sample goes to whichever device is free, for GPUs of "
        "unequal speed.",
    )
    enable_batch_sync: bool | None = Field(
        None, description="Older spelling of `schedule`: true is lockstep, false is free."
    )
    max_wave_lead: NonNegativeInt = Field(
        0,
        description="Number of waves that a device may be ahead of the slowest one, with "
        "`schedule: lockstep`.",
    )
    join_timeout: Seconds = Field(
        600.0, description="Seconds to wait at the first wave for devices that are still loading."
    )
    heartbeat_timeout: Seconds = Field(
        60.0,
        description="Seconds of silence after which a device on another host, or the process that "
        "holds a device's model, counts as dead.",
    )
    resident: bool = Field(
        True,
        description="Keep models on their devices from job to job. Used if all jobs run on this "
        "machine.",
    )
    idle_timeout: Seconds = Field(
        600.0, description="Seconds without work after which a device's model is unloaded."
    )
    when_busy: Literal["stop", "wait"] = Field(
        "stop",
        description="What to do if another run of yours on this machine uses a GPU: stop with a "
        "message, or wait.",
    )
    load_concurrency: PositiveInt | None = Field(
        None, description="Models that load at the same time on one host; null sets no limit."
    )
    compile_cache: PathText = Field(
        "~/.cache/lockstep",
        validate_default=True,
        description="Folder that keeps compiled GPU code from run to run.",
    )

    @field_validator("device_ids")
    @classmethod
    def _distinct(cls, ids: Any) -> Any:
        if ids == "auto":
            return ids
        if not ids:
            raise ValueError("expected at least one device, or auto, found an empty list")
        texts = list(map(str, ids))
        twice = {i for i in texts if texts.count(i) > 1}
        if twice:
            listed = ", ".join(sorted(twice))
            raise ValueError(f"expected each device once, found {listed} twice")
        return ids

    @model_validator(mode="after")
    def _one_schedule(self) -> "DeviceSettings":
        if self.enable_batch_sync is not None:
            older: Schedule = "lockstep" if self.enable_batch_sync else "free"
            if "schedule" in self.model_fields_set and self.schedule != older:
                spelled = str(self.enable_batch_sync).lower()
                raise ValueError(
                    f"expected one schedule, found schedule: {self.schedule} beside "
                    f"enable_batch_sync: {spelled}, the older spelling of schedule: {older}; leave "
                    "one out"
                )
            # the section is frozen for others
            object.__setattr__(self, "schedule", older)
        if self.max_wave_lead and self.schedule != "lockstep":
            raise ValueError(
                f"expected max_wave_lead: 0 beside schedule: {self.schedule}, where no device "
                f"waits for a wave, found {self.max_wave_lead}"
            )
        both = {"lockstep": True, "free": False, "queue": None}
        object.__setattr__(self, "enable_batch_sync", both[self.schedule])
        return self

    @model_serializer(mode="wrap")
    def _as_it_was(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return lockstep and free as they were spelled first, so that earlier notes still fit."""
        told: dict[str, Any] = plain(self)
        told.pop("enable_batch_sync" if self.schedule == "queue" else "schedule", None)
        return told
