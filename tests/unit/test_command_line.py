"""The commands beside the workflow."""

import sys

import pytest

from lockstep import __main__
from lockstep.demo import tiny
from lockstep.devices import device
from lockstep.jobs import workers
from tests import formats


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lockstep", *arguments])
    with pytest.raises(SystemExit) as left:
        __main__.main()
    return left.value.code


def test_the_help_has_a_line_for_each_command(monkeypatch, capsys):
    assert not run(monkeypatch, "--help")
    printed = capsys.readouterr().out
    for command in ("doctor", "init", "verify", "votes", "workers"):
        (line,) = [each for each in printed.splitlines() if each.split()[:1] == [command]]
        assert len(line.split()) > 2


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["verfy"], "'verfy' (did you mean 'verify'?)"),
        (["hosts"], "'hosts' (did you mean 'votes'?)"),
        (["Verify", "results"], "'Verify' (did you mean 'verify'?)"),
        (["--stop"], "'--stop'"),
        (["plan", "rows", "folder"], "'plan'"),
        (["x\n\x1b[2Jy"], r"'x\n\x1b[2Jy'"),
        ([], "''"),
    ],
)
def test_an_unknown_command_is_one_sentence(arguments, found, monkeypatch, capsys):
    expected = (
        "Error: expected a command, agreement, doctor, init, ratings, report, verify, votes or "
        "workers, found "
    )
    assert run(monkeypatch, *arguments) == expected + found
    assert capsys.readouterr() == ("", "")


def test_an_argument_too_many_is_refused(monkeypatch, capsys):
    for command in ("verify", "workers"):
        assert run(monkeypatch, command, "--nothing") == 2
        assert "unrecognized arguments: --nothing" in capsys.readouterr().err


def test_workers_are_listed_and_ended(monkeypatch, capsys):
    called = []
    monkeypatch.setattr(workers, "sweep", lambda: called.append("sweep"))
    monkeypatch.setattr(workers, "stop", lambda: called.append("stop") or 2)
    monkeypatch.setattr(workers, "listed", lambda: ["gpu0: a\nb", "gpu1: c"])
    assert run(monkeypatch, "workers") == 0
    assert capsys.readouterr().out == "gpu0: a b\ngpu1: c\n"
    assert called == ["sweep"]
    monkeypatch.setattr(workers, "listed", list)
    assert run(monkeypatch, "workers") == 0
    assert capsys.readouterr().out == "nothing is warm\n"
    assert run(monkeypatch, "workers", "--stop") == 0
    assert capsys.readouterr().out == "2 stopped\n"
    assert called == ["sweep", "sweep", "sweep", "stop"]


def test_a_report_of_what_is_there_needs_a_configuration_and_a_benchmark_that_was_read(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "report") == 2
    assert "--partial" in capsys.readouterr().err
    said = run(monkeypatch, "report", "--partial", "--configfile", "none.yaml")
    assert said.startswith(f"Error: {tmp_path / 'none.yaml'}: expected a configuration, found none")
    said = run(monkeypatch, "report", "--partial", "--directory", "nowhere")
    assert said == "Error: --directory: expected a folder, found none at nowhere"
    tiny.make_benchmark(tmp_path / "benchmark.json")
    (tmp_path / "replies" / "copy").mkdir(parents=True)
    (tmp_path / "replies" / "copy" / "one.txt").touch()
    (tmp_path / "own.yaml").write_text(
        "benchmark: {path: benchmark.json}\n"
        "editors: [{name: copy, type: identity}]\n"
        "judge: {type: precomputed, folder: replies}\n",
        encoding="utf-8",
    )
    said = run(monkeypatch, "report", "--partial", "--configfile", "own.yaml")
    assert said.startswith("Error: results: expected the samples of this configuration (manifest")
    assert not (tmp_path / "results").exists()


def test_a_first_configuration_is_written_and_checked(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "visible_gpus", list)
    formats.table(tmp_path / "photos", form="folder")
    assert run(monkeypatch, "init", "photos") == 0
    printed = capsys.readouterr().out
    assert "\n  python -m lockstep doctor --configfile photos.yaml\n" in printed
    assert run(monkeypatch, "init", "photos") == (
        "Error: photos.yaml: expected no such file, found one, which stays as it is; --output "
        "names another file"
    )
    assert run(monkeypatch, "doctor", "--configfile", "photos.yaml") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ok       configuration  photos.yaml: ")
    assert printed.endswith(" ok, no warning, no error\n")
    # for other programs each finding is one line
    assert all(line.split()[0] == "ok" for line in printed.splitlines()[:-2])
    assert run(monkeypatch, "doctor") == 1
    assert capsys.readouterr().out.startswith("error    configuration  config/config.yaml: ")
    assert not (tmp_path / "results").exists()
