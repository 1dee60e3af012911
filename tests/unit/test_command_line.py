"""The commands beside the workflow."""

import sys

import pytest

from lockstep import __main__
from lockstep.jobs import workers


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lockstep", *arguments])
    with pytest.raises(SystemExit) as left:
        __main__.main()
    return left.value.code


def test_the_help_has_a_line_for_each_command(monkeypatch, capsys):
    assert not run(monkeypatch, "--help")
    printed = capsys.readouterr().out
    for command in ("verify", "votes", "workers"):
        (line,) = [each for each in printed.splitlines() if each.split()[:1] == [command]]
        assert len(line.split()) > 2


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["verfy"], "'verfy' (did you mean 'verify'?)"),
        (["hosts"], "'hosts' (did you mean 'votes'?)"),
        (["Verify", "results"], "'Verify' (did you mean 'verify'?)"),
        (["--stop"], "'--stop'"),
        (["plot", "rows", "folder"], "'plot'"),
        (["x\n\x1b[2Jy"], r"'x\n\x1b[2Jy'"),
        ([], "''"),
    ],
)
def test_an_unknown_command_is_one_sentence(arguments, found, monkeypatch, capsys):
    expected = "Error: expected a command, agreement, ratings, verify, votes or workers, found "
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
