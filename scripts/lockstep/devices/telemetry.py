"""Telemetry: what a device does while it works."""

import logging
import threading
from typing import Self

import pynvml

from lockstep.devices.device import Device, given, gpu_uuid
from lockstep.records import Telemetry

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 0.25

THROTTLE_REASONS = {
    pynvml.nvmlClocksThrottleReasonSwPowerCap: "sw_power_cap",
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hw_slowdown",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "sw_thermal_slowdown",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "hw_thermal_slowdown",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "hw_power_brake_slowdown",
}
"""Why a GPU lowers its clocks while it has work; being idle is none."""


class Sampler:
    """Samples what a pinned GPU does, in a thread of its own; silent on CPU slots.

    What NVML does not tell of a device (a MIG slice's utilisation, for one) ends the sampling.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._samples: list[tuple[float, int, int, float, int]] = []
        self._leaving = threading.Event()

    def __enter__(self) -> Self:
        if self._device.kind == "cuda":
            first, *_ = given() or []
            uuid = gpu_uuid(first)
            threading.Thread(target=self._sample, args=(uuid,), name="sampler", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()

    def take(self) -> Telemetry | None:
        """Return a summary since the last call; None if nothing was sampled."""
        samples, self._samples = self._samples, []
        if not samples:
            return None
        utilisation, memory, temperature, power, reasons = zip(*samples, strict=True)
        return Telemetry(
            utilisation=round(sum(utilisation) / len(samples), 1),
            memory=max(memory),
            temperature=max(temperature),
            power=round(sum(power) / len(samples), 1),
            throttled=sorted({name for mask in reasons for name in _throttle_reasons(mask)}),
        )

    def _sample(self, uuid: str) -> None:
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            while not self._leaving.wait(SAMPLE_SECONDS):
                self._samples.append(
                    (
                        pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
                        pynvml.nvmlDeviceGetMemoryInfo(handle).used,
                        pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
                        pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
                        pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
                    )
                )
        except pynvml.NVMLError as error:
            log.warning("no telemetry of %s (%s)", self._device.name, error)


def _throttle_reasons(mask: int) -> list[str]:
    return [name for bit, name in THROTTLE_REASONS.items() if mask & bit]
