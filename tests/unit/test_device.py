"""Devices: which there are, pinning, and telemetry."""

import os
from types import SimpleNamespace

import pynvml
import pytest

from lockstep.devices import device, pinning, telemetry
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import DeviceError


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    monkeypatch.setattr(pinning, "LEAVING", 0)


def names(**settings):
    found = device.devices(DeviceSettings(**settings))
    device.check_visible(found)
    return [d.name for d in found]


def test_auto_takes_the_gpus_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1,GPU-1cde99d8-61d1-3eaf-5d4d-9bc81905ca82")
    assert names() == ["gpu3", "gpu1", "GPU-1cde99d8"]


def test_auto_takes_cpu_slots_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert names() == [f"cpu{k}" for k in range(min(2, os.cpu_count()))]
    with pytest.raises(DeviceError, match="found no GPU"):
        names(accelerator="cuda")


@pytest.mark.parametrize(
    ("visible", "found"),
    [("-1", []), ("NoDevFiles", []), ("3, 1", ["3", "1"]), ("2,-1,3", ["2"])],
)
def test_what_hides_gpus_from_cuda_hides_them_here(monkeypatch, visible, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.visible_gpus() == found


@pytest.mark.parametrize("accelerator", ["auto", "cuda"])
def test_a_driver_that_does_not_answer_is_no_reason_to_take_cpu_slots(monkeypatch, accelerator):
    def fail():
        raise pynvml.NVMLError(reason)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    reason = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    with pytest.raises(DeviceError, match=r"or cpu, found a GPU driver that fails \("):
        names(accelerator=accelerator)
    assert names(accelerator="cpu", device_ids=(0,)) == ["cpu0"]
    reason = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    assert device.visible_gpus() == []


def test_any_subset_in_any_order(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert names(device_ids=(2, 0)) == ["gpu2", "gpu0"]
    assert names(device_ids=(5, 7, 6), accelerator="cpu") == ["cpu5", "cpu7", "cpu6"]


def test_a_device_that_cannot_be_is_refused_before_any_job(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with pytest.raises(DeviceError, match=r"expected GPUs that are visible here \(2, 3\), found 0"):
        names(device_ids=(0, 2))
    with pytest.raises(DeviceError, match="expected numbers of CPU slots here, found 'GPU-x'"):
        names(device_ids=("GPU-x",), accelerator="cpu")


def test_a_cpu_slot_sees_no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert pinning.pin([Device("cpu", "0")]) == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("given", "wanted", "pinned"),
    [
        (None, "4", "4"),
        ("0,1,2,3,4", "4", "4"),
        ("7", "4", "7"),
        (None, "45", "4,5"),
        ("0,1,2,3,4,5", "45", "4,5"),
        ("0,1", "45", "0,1"),
    ],
    ids=["alone", "choice", "scheduler", "two alone", "two of more", "two of a scheduler"],
)
def test_gpus_are_pinned_unless_a_scheduler_gave_as_many(monkeypatch, given, wanted, pinned):
    monkeypatch.setattr(pinning, "gpu_uuid", lambda device_id: f"GPU-{device_id}")
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert pinning.pin([Device("cuda", number) for number in wanted]) == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == pinned
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_gpu_that_is_not_there_is_a_clear_error():
    with pytest.raises(DeviceError, match=r"device_ids: expected the number or .*, found '99'"):
        pinning.pin([Device("cuda", "99")])


def test_a_scheduler_that_gives_too_few_gpus_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(DeviceError, match=r"expected 2 visible to this job .*, found only 7"):
        pinning.pin([Device("cuda", "4"), Device("cuda", "5")])


def test_neighbours_share_a_judge_and_none_is_left_over():
    slots = [Device("cpu", str(k)) for k in (3, 1, 2, 0)]
    assert device.split(slots, 1) == [[slot] for slot in slots]
    assert device.split(slots, 2) == [slots[:2], slots[2:]]
    for together in (3, 8):
        with pytest.raises(
            DeviceError, match=f"gpus_per_judge: expected 1 or 2 or 4, .*, found {together} with 4"
        ):
            device.split(slots, together)


def test_a_gpu_in_use_names_its_holder(monkeypatch, tmp_path):
    monkeypatch.setattr(pinning, "gpu_uuid", lambda device_id: f"GPU-{device_id}")
    monkeypatch.setattr("lockstep.records.host_folder", lambda: tmp_path)
    gpus = [Device("cuda", "5"), Device("cuda", "4")]
    for first, second in ([gpus[1:], gpus[1:]], [gpus, gpus[1:]], [gpus[1:], gpus]):
        pinning.pin(first)
        with pinning.exclusive(first):
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
            pinning.pin(second)
            in_use = rf"gpu4: found it in use by process {os.getpid()}"
            with pytest.raises(DeviceError, match=in_use), pinning.exclusive(second):
                pass
        with pinning.exclusive(second):
            pass
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


def test_a_gpu_in_use_is_waited_for_if_told_to(monkeypatch, tmp_path, caplog):
    import threading

    monkeypatch.setattr(pinning, "gpu_uuid", lambda device_id: f"GPU-{device_id}")
    monkeypatch.setattr("lockstep.records.host_folder", lambda: tmp_path)
    gpu = [Device("cuda", "4")]
    pinning.pin(gpu)
    order = []
    held = pinning.exclusive(gpu)
    held.__enter__()

    def second():
        with pinning.exclusive(gpu, "wait"):
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    order.append("first ends")
    held.__exit__(None, None, None)
    waiting.join(10)
    assert order == ["first ends", "second"]
    assert f"gpu4: found it in use by process {os.getpid()} since 20" in caplog.text


class FakeGPU:
    """Stands in for NVML and tells another number of bytes in use at each question."""

    def __init__(self, monkeypatch, *used):
        self.used = list(used)
        for name in ("nvmlInit", "nvmlShutdown"):
            monkeypatch.setattr(pynvml, name, lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{handle}")
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", self._memory)

    def _memory(self, handle):
        used = self.used.pop(0) if len(self.used) > 1 else self.used[0]
        return SimpleNamespace(used=used, total=2**40)


def test_a_model_is_loaded_once_the_one_before_has_left_the_memory(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("lockstep.records.host_folder", lambda: tmp_path)
    caplog.set_level("INFO")
    gpu = FakeGPU(monkeypatch, 60 * 2**30, 60 * 2**30, 20 * 2**30, 2**30 + 1, 2**30, 0)
    seen = []
    settings = DeviceSettings(accelerator="cuda", device_ids=(4,))
    with pinning.loaded([Device("cuda", "4")], settings, lambda name: seen.append(gpu.used)):
        # the last question was answered with what counts as free
        assert seen == [[0]]
    assert "gpu4: 59.0 GiB came free in 0." in caplog.text


def test_memory_that_others_keep_is_not_waited_for(monkeypatch, caplog):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    monkeypatch.setattr(pinning, "SETTLED", 0.2)
    FakeGPU(monkeypatch, 9 * 2**30, 5 * 2**30)
    pinning.wait_until_free([Device("cuda", "4")])
    assert "gpu4: others use 5.0 GiB of its memory" in caplog.text


@pytest.mark.parametrize(
    "reason", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION]
)
def test_memory_that_is_not_told_of_is_not_waited_for(monkeypatch, reason):
    def fail(handle):
        raise pynvml.NVMLError(reason)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    FakeGPU(monkeypatch, 0)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", fail)
    pinning.wait_until_free([Device("cuda", "4")])


def test_a_sampler_summarises_what_the_gpu_did_and_is_silent_on_a_cpu_slot(monkeypatch):
    sampler = telemetry.Sampler(Device("cuda", "0"))
    sampler._samples = [(90, 10, 60, 400.0, 0), (100, 30, 64, 500.0, 0x4 | 0x40)]
    taken = sampler.take()
    assert (taken.utilisation, taken.memory, taken.temperature, taken.power) == (95, 30, 64, 450)
    assert taken.throttled == ["hw_thermal_slowdown", "sw_power_cap"]
    assert sampler.take() is None
    with telemetry.Sampler(Device("cpu", "0")) as silent:
        assert silent.take() is None


def test_loading_takes_turns_only_if_told_to(monkeypatch, tmp_path):
    import threading

    monkeypatch.setattr("lockstep.records.host_folder", lambda: tmp_path)

    def most_at_a_time(concurrency):
        now, most, guard = 0, 0, threading.Lock()

        def load():
            nonlocal now, most
            with pinning.loading_turn(concurrency):
                with guard:
                    now += 1
                    most = max(most, now)
                threading.Event().wait(0.15)
                with guard:
                    now -= 1

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most

    assert most_at_a_time(1) == 1
    assert most_at_a_time(2) == 2
    assert most_at_a_time(None) == 4


def test_a_cpu_slot_computes_as_on_other_processors_unless_the_user_says_otherwise(monkeypatch):
    for name in pinning.STEADY:
        monkeypatch.delenv(name, raising=False)
    # recorded, so that it is taken back
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert pinning.pin([Device("cpu", "0")]) == "cpu"
    found = {name: os.environ.get(name) for name in pinning.STEADY}
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        given = pinning.STEADY if " avx2 " in file.read() else dict.fromkeys(pinning.STEADY)
    assert found == {**given, "MKL_CBWR": "COMPATIBLE"}


def test_gpus_by_number_are_refused_where_there_is_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError, match=r"a machine that shows no GPU, found gpu0\+gpu1"):
        names(accelerator="cuda", device_ids=[0, 1])
    assert names(device_ids=[0, 1]) == ["cpu0", "cpu1"]
