"""Commands beside the workflow: python -m lockstep COMMAND."""

import argparse
import io
import os
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from lockstep import layout
from lockstep.errors import ConfigError, LockstepError, counted, suggest
from lockstep.foreign import media
from lockstep.jobs import workers
from lockstep.jobs.verify import verify

COMMANDS = ("agreement", "doctor", "init", "ratings", "report", "verify", "votes", "workers")


CONFIGURATION = Path("config", "config.yaml")


def main() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal may know ASCII alone
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(_run(sys.argv[1:]))
    except LockstepError as error:
        sys.exit(media.entry(f"Error: {error}"))


def _run(given: list[str]) -> int:
    """Do what a command line asks for and return the exit code."""
    _check_command(given)
    arguments = _parser().parse_args(given)
    if arguments.command == "init":
        return _init(arguments.path, arguments.output)
    if arguments.command == "doctor":
        return _doctor(arguments.configfile)
    if arguments.command == "workers":
        return _workers(arguments.stop)
    if arguments.command == "votes":
        return _votes(arguments.file)
    if arguments.command == "agreement":
        return _agreement(arguments.files, arguments.scales)
    if arguments.command == "report":
        return _report(arguments)
    if arguments.command == "ratings":
        return _ratings(arguments.plan, arguments.files)
    return _verify(arguments.results)


def _check_command(given: list[str]) -> None:
    expected = f"{', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}"
    found = given[0] if given else ""
    if found not in (*COMMANDS, "-h", "--help"):
        hint = suggest(found, COMMANDS)
        raise ConfigError(f"expected a command, {expected}, found {found!r}{hint}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lockstep", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    beginning = commands.add_parser(
        "init",
        help="write a configuration for a table, a folder or a published benchmark",
        description="Write a commented configuration for a table, a folder or a published "
        "benchmark. For a folder of images alone, write a table to fill in.",
    )
    beginning.add_argument("path", type=Path, help="the benchmark's file or folder")
    beginning.add_argument(
        "--output", type=Path, metavar="FILE", help="by default NAME.yaml, after the benchmark"
    )
    checking = commands.add_parser(
        "doctor",
        help="check all that can be checked before a run",
        description="Check the configuration, devices, memory, disk, models, servers and the "
        "benchmark, and say what a run would need. Nothing is changed.",
    )
    checking.add_argument("--configfile", type=Path, default=CONFIGURATION, help="that of the run")
    verifying = commands.add_parser(
        "verify",
        help="read and hash the files of a folder of results",
        description="Read and hash the files of a folder of results, and name those that are not "
        "what was written.",
    )
    verifying.add_argument("results", nargs="?", type=Path, default=Path("results"))
    voting = commands.add_parser(
        "votes",
        help="tell how often a judge votes on pairs of edits as people do",
        description="Tell how often a judge votes on pairs of edits as people do, as GenAI-Bench "
        "counts it.",
    )
    voting.add_argument("file", type=Path, help="CSV, JSON, JSON lines or Parquet file of votes")
    agreeing = commands.add_parser(
        "agreement",
        help="tell how far people who rate edits agree with each other",
        description="Tell how far people who rate edits, or vote on pairs of them, agree with each "
        "other (docs/report.md).",
    )
    agreeing.add_argument(
        "files",
        nargs="+",
        type=Path,
        help="CSV, JSON, JSON lines or Parquet files of scores or votes",
    )
    agreeing.add_argument(
        "--scales", nargs="+", default=["score"], metavar="COLUMN", help="columns of scores"
    )
    rating = commands.add_parser(
        "ratings",
        help="collect what people answered on the page to rate",
        description="Collect what people answered on the page that `snakemake rating` wrote.",
    )
    rating.add_argument("plan", nargs="?", type=Path, default=layout.rating(Path("results"))[1])
    rating.add_argument(
        "files", nargs="*", type=Path, help="saved files; by default those in answers/ beside it"
    )
    reporting = commands.add_parser(
        "report",
        help="write the report of a run that is not finished",
        description="Write the report of what is there, also while a run goes on. The report of a "
        "finished run is written by `snakemake`.",
    )
    reporting.add_argument("--partial", action="store_true", required=True)
    reporting.add_argument("--configfile", type=Path, default=CONFIGURATION, help="that of the run")
    reporting.add_argument(
        "--directory", type=Path, default=Path(), help="working folder of the run"
    )
    reporting.add_argument(
        "--output", type=Path, help="folder of the page; by default report-partial in the results"
    )
    keeping = commands.add_parser(
        "workers",
        help="list or end the models kept on this machine's devices",
        description="List the models that are kept on devices of this machine.",
    )
    keeping.add_argument(
        "--stop", action="store_true", help="end them, each after the item in its hand"
    )
    return parser


def _init(path: Path, output: Path | None) -> int:
    # it takes all backends' settings
    from lockstep.commands.init import init

    for line in init(path, output):
        print(media.visible(line))
    return 0


def _doctor(file: Path) -> int:
    # as above
    from lockstep.commands import finding
    from lockstep.commands.doctor import examine

    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    found = []
    for own in examine(file):
        found.append(own)
        print(finding.line(own, columns), flush=True)
    print(f"\n{finding.summary(found)}")
    return int(any(own.state == "error" for own in found))


def _verify(results: Path) -> int:
    count = faults = 0
    for fault in tqdm(verify(results), desc="verify", unit=" files", disable=None):
        count += 1
        if fault is not None:
            faults += 1
            tqdm.write(media.entry(f"{fault.path}: {fault.what}"))
    print(f"{counted(count, 'file')} looked at, {faults} of them not what was written")
    if faults:
        print("delete these files and run the workflow again: it makes them anew")
    return int(faults > 0)


def _votes(file: Path) -> int:
    # it takes scipy
    from lockstep.figures import votes

    print("\n".join(votes.lines(votes.vote_agreement(votes.read_votes(file)))))
    return 0


def _agreement(files: list[Path], scales: list[str]) -> int:
    # it takes scipy
    from lockstep.config.report import HumanScale
    from lockstep.figures import human_files, people

    columns = dict.fromkeys(scales, HumanScale())
    given = human_files.read_people(files, None, columns, ["score"])
    print("\n".join(people.lines(people.among(given))))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    # they take pandas and matplotlib, and all backends' settings
    from lockstep.config import load
    from lockstep.report.partial import write_partial

    file, output = arguments.configfile.absolute(), arguments.output and arguments.output.absolute()
    if not arguments.directory.is_dir():
        raise ConfigError(f"--directory: expected a folder, found none at {arguments.directory}")
    os.chdir(arguments.directory)
    settings = load.of_file(file)
    folder = output or layout.partial_report(Path(settings.results))
    for own in write_partial(settings, folder, max(1, len(os.sched_getaffinity(0)) // 2)):
        edits, scores = (counted(own.samples, noun) for noun in ("edit", "score"))
        further = [f"{count} of {scores} by {name}" for name, count in own.further.items()]
        parts = [f"{own.edits} of {edits}", f"{own.scores} of {scores}", *further]
        print(f"{own.editor}: {', '.join(parts)}")
    print(folder / layout.page(folder).name)
    return 0


def _ratings(plan: Path, files: list[Path]) -> int:
    # it takes scipy
    from lockstep.report.rating.answers import read_answers, write_answers

    files = files or layout.answers(plan)
    if not files:
        raise ConfigError(f"{plan.parent / 'answers'}: expected the files of raters, found none")
    answers, path = read_answers(plan, files), layout.ratings(plan)
    write_answers(answers, path)
    raters = len({row["rater"] for row in answers.rows})
    print(f"{path}: {counted(len(answers.rows), 'rating')} by {counted(raters, 'rater')}")
    if answers.unfinished:
        print(f"left out, as an answer is missing: {counted(answers.unfinished, 'item')}")
    return 0


def _workers(stop: bool) -> int:
    workers.sweep()
    if stop:
        print(f"{workers.stop()} stopped")
    else:
        print("\n".join(map(media.line, workers.listed())) or "nothing is warm")
    return 0


if __name__ == "__main__":
    main()
