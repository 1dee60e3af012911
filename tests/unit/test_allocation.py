"""Devices on a cluster: which a job was given, and which of them it takes."""

import pytest

from lockstep.config.cluster import ClusterSettings
from lockstep.config.run import Config
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import DeviceError
from lockstep.jobs import allocation


def on_cluster(shards, accelerator="auto"):
    return Config.model_construct(
        devices=DeviceSettings(accelerator=accelerator), cluster=ClusterSettings(shards=shards)
    )


@pytest.fixture
def node(monkeypatch, tmp_path):
    """Name the host as a scheduler does; what earlier tests took is free again."""
    monkeypatch.setattr("lockstep.records.host_folder", lambda: tmp_path)
    monkeypatch.setattr(allocation, "_taken", [])
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    monkeypatch.delenv("SLURM_JOB_GPUS", raising=False)
    monkeypatch.delenv("SLURM_STEP_GPUS", raising=False)


def test_a_job_takes_the_device_that_it_was_given_whatever_its_number(monkeypatch, node):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    names = [d.name for d in allocation.of_job(on_cluster(3), 1, 1)]
    assert names == ["shard 0", "n7:gpu3", "shard 2"]
    # hidden behind other numbers, it is still called by its own
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_STEP_GPUS", "5")
    monkeypatch.setattr(allocation, "_taken", [])
    assert allocation.of_job(on_cluster(3), 2, 1)[2] == Device("cuda", "0", "n7:gpu5")


def test_jobs_of_one_allocation_take_different_devices(monkeypatch, node):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,4")
    # both would begin to look at the second
    taken = [allocation.of_job(on_cluster(6), shard, 1)[shard].id for shard in (3, 5)]
    assert sorted(taken) == ["1", "4"]


def test_a_judge_on_several_devices_takes_that_many(monkeypatch, node):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,4,5,6")
    taken = [allocation.of_job(on_cluster(6), 2 * shard, 2) for shard in (0, 2)]
    assert taken[0][2:] == allocation.planned(on_cluster(6))[2:]
    assert sorted(device.name for device in taken[0][:2] + taken[1][4:]) == [
        f"n7:gpu{k}" for k in (1, 4, 5, 6)
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(DeviceError, match=r"devices: expected 2 given to this job"):
        allocation.of_job(on_cluster(6), 2, 2)


def test_a_job_on_a_node_without_a_gpu_says_so(monkeypatch, node):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError, match="expected cpu on a node without GPUs, found no GPU"):
        allocation.of_job(on_cluster(2), 0, 1)
    assert allocation.of_job(on_cluster(2, "cpu"), 1, 1)[1].name == "n7:cpu1"
    assert allocation.of_job(on_cluster(2), 1, 1, needed=False)[1].name == "n7:cpu1"


@pytest.mark.parametrize(
    ("limits", "together", "sentence"),
    [
        ({"gpu": 0}, 1, "--resources gpu=0: expected at least 1"),
        ({"gpu": 1}, 2, r"gpu=1: expected at least 2 \(judge.gpus_per_judge\)"),
        (
            {"mem_mb": 9, "gpus": 2},
            1,
            "gpus=2: expected gpu=N .*, found a resource",
        ),
        ({"GPU": 2}, 1, "GPU=2: expected gpu=N"),
        ({"gpu0": 2}, 1, "gpu0=2: expected gpu=N"),
        ({"requests": 2}, 1, "--resources requests=2: expected judge.concurrency"),
    ],
)
def test_a_limit_that_would_not_hold_is_refused(limits, together, sentence):
    with pytest.raises(DeviceError, match=sentence):
        allocation.check_limits(limits, (together, "judge.gpus_per_judge"))


def test_other_limits_are_for_snakemake():
    allocation.check_limits({"gpu": 2, "mem_mb": 0, "cpu": 4, "nvidia": 0}, (2, ""))
