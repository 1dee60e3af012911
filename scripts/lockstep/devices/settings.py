"""What a user may say of the devices."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from lockstep.config.section import PathText, Seconds, Section


class DeviceSettings(Section):
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
