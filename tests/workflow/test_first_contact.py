"""From a table to a plan: what `init` writes runs as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lockstep.commands.init import init
from lockstep.devices import device
from tests import formats
from tests.workflow.conftest import environment


def lockstep(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lockstep", *arguments],
        cwd=folder,
        env=environment() | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def snakemake(folder: Path, command: str, *arguments: str, gpus: str = "") -> tuple[int, str]:
    """Run a command that was printed, which names the workflow."""
    assert command.startswith("snakemake -n --snakefile ")
    given = command.split()[2:]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, *given],
        cwd=folder,
        env=environment() | {"CUDA_VISIBLE_DEVICES": gpus},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", ["table", "kris"])
def test_the_configuration_that_is_written_passes_doctor_and_the_dry_run(tmp_path, name):
    made = getattr(formats, name)(tmp_path, 5)
    code, printed = lockstep(tmp_path, "init", made.settings["path"], "--output", "own.yaml")
    assert code == 0, printed
    checking, planning = (line.strip() for line in printed.splitlines()[-2:])
    assert checking == "python -m lockstep doctor --configfile own.yaml"
    code, printed = lockstep(tmp_path, *checking.split()[3:])
    assert code == 0, printed
    assert "no warning, no error" in printed
    code, printed = snakemake(tmp_path, planning, "-n")
    assert code == 0, printed
    assert "This was a dry-run" in printed
    assert "Error" not in printed and not (tmp_path / "results").exists()


def test_the_configuration_for_gpus_passes_the_dry_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(device, "model", lambda _: "NVIDIA H200")
    monkeypatch.setattr(device, "memory", lambda _: (0, 141 * 10**9))
    *_, planning = init(Path(formats.table(Path("own")).settings["path"]), None)
    code, printed = snakemake(tmp_path, planning.strip(), "-n", gpus="0,1")
    assert code == 0, printed
    # the models are not on this machine
    assert "table.yaml: editors[0].model: found no folder 'Qwen/Qwen-Image-Edit'" in printed
    assert "8 edit, 8 score" in printed


def test_what_init_writes_runs_to_its_report_and_doctor_knows_what_is_done(tmp_path):
    formats.table(tmp_path / "photos", 2, form="folder")
    code, printed = lockstep(tmp_path, "init", "photos")
    assert code == 0, printed
    file = tmp_path / "photos.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    # one process is enough
    config["devices"]["device_ids"] = [0]
    file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    code, printed = snakemake(tmp_path, printed.splitlines()[-1].strip())
    assert code == 0, printed
    assert (tmp_path / "results" / "photos" / "report" / "report.html").is_file()
    code, printed = lockstep(tmp_path, "doctor", "--configfile", "photos.yaml")
    assert code == 0, printed
    assert "0 edits are due, 4 are cached" in printed
    assert "judge: 0 judgements are due, 4 are cached" in printed
