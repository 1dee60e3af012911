"""Snakemake's output as one line a job: what it did, how long it took, what is still to do."""

import argparse
import atexit
import io
import logging
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from lockstep.config import checks
from lockstep.errors import ConfigError
from lockstep.foreign import media, yaml_files
from lockstep.jobs import TELLS, board, joblog
from lockstep.records import recovery
from snakemake_logger_plugin_lockstep.display import Display, can_draw
from snakemake_logger_plugin_lockstep.failures import Failures, Job

NOISE = re.compile(
    "Assuming unrestricted shared filesystem|Building DAG|Complete log|Conda environments: ignored"
    "|Execute |Job stats|Provided|Rules claiming|Select jobs|Using shell|host: |localrules"
    "|Reasons:|.*occurring in jobs|.*missing provenance/metadata|Rules with missing metadata"
)

OURS = Path(__file__).parents[2]

FRAME = re.compile(
    rf"WorkflowError in file \"{re.escape(str(OURS))}/[^\n]*\", line \d+:\n(?P<text>.*?)"
    r"(\n  File \"[^\n]*)*\n?",
    re.DOTALL,
)
"""A sentence of ours, with the lines in which Snakemake names the place in our files."""

OF_SCRIPT = re.compile(
    rf"RuleException:\nCalledProcessError in file \"{re.escape(str(OURS))}/[^\n]*\", line \d+:\n"
    r"Command '[^\n]*\.snakemake/scripts/[^\n]*",
    re.DOTALL,
)
"""What Snakemake says of a script of ours that has failed, beside what the script says."""

NO_RULE = re.compile(r"MissingRuleException:\nNo rule to produce (?P<target>[^/\n]+?) \(if you ")

AGAIN = re.compile(r"Trying to restart job (?P<job>\d+)\.")

STOPPING = "Terminating processes on user request"
"""What Snakemake says when it is interrupted."""

ENDED = "At least one job did not complete successfully."

EXITING = "Exiting because a job execution failed"

BECAUSE = ".snakemake/because/"
"""Where the files lie that the workflow calls by the reasons why outputs are made again."""


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """There is nothing to set."""


class LogHandler(LogHandlerBase, ColorizingTextHandler):
    """Writes to the terminal; counts jobs as Snakemake announces and finishes them."""

    def __post_init__(self) -> None:
        _check_configuration()
        settings = self.common_settings
        stream = sys.stdout if settings.stdout else sys.stderr
        if isinstance(stream, io.TextIOWrapper):
            # names in Chinese, on a terminal that knows ASCII alone
            stream.reconfigure(errors="backslashreplace")
        ColorizingTextHandler.__init__(self, nocolor=settings.nocolor, stream=stream)
        quiet = {Quietness.ALL, Quietness.PROGRESS} & set(settings.quiet or ())
        draws = not quiet and not settings.dryrun and can_draw(stream)
        colors = not self.nocolor and "NO_COLOR" not in os.environ
        self.nocolor = not colors
        self._display = Display(draws, speaks=not quiet, colors=colors)
        self._lines = _Lines(settings, counts=not draws)
        self.setFormatter(self._lines)
        self._dryrun = settings.dryrun
        if Quietness.ALL not in (settings.quiet or ()):
            os.environ[TELLS] = "1"
        # however this process ends, short of a kill
        atexit.register(self.close)
        self.addFilter(
            DefaultFilter(
                settings.quiet,
                settings.debug_dag,
                settings.verbose,
                settings.dryrun,
                settings.printshellcmds,
            )
        )

    def handle(self, record: logging.LogRecord) -> Any:
        # also of what --quiet leaves out
        self._watch(record)
        return super().handle(record)

    def _watch(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO and not self._dryrun and not self._display.ident:
            self._display.start()
        if record.getMessage().startswith(STOPPING):
            self._lines.interrupted = True
        with self._display.lock:
            run, now = board.current, time.time()
            if run is not None and event == LogEvent.JOB_INFO:
                run.begins(record.jobid, now, record.rule_msg or record.rule_name)
            elif run is not None and event == LogEvent.JOB_FINISHED:
                run.ends(record.job_id, now)
            elif run is not None and event == LogEvent.JOB_ERROR:
                run.ends(record.jobid, now, "waiting" if self._lines.interrupted else "failed")

    def emit(self, record: logging.LogRecord) -> None:
        # the base class puts an empty line before each job
        self.last_msg_was_job_info = True
        try:
            ColorizingTextHandler.emit(self, record)
        except BrokenPipeError:
            # who reads has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def decorate(self, record: logging.LogRecord, message: str) -> str:
        if record.levelno >= logging.WARNING:
            message = ColorizingTextHandler.decorate(self, record, message)
        return message

    def close(self) -> None:
        self._display.stop(self._lines.interrupted)
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False


def _check_configuration() -> None:
    """Refuse what Snakemake, which reads it next, would hang on or answer with a traceback.

    Raises:
        SystemExit: with a sentence on a file or an entry of the command line.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path, default=[])
    parser.add_argument("--config", "-C", nargs="*", default=[])
    given, _ = parser.parse_known_args()
    try:
        for file in given.configfile:
            _check_file(file)
        for entry in given.config:
            yaml_files.parse_entry(entry, ConfigError)
    except ConfigError as error:
        raise SystemExit(media.entry(f"Error: {error}")) from None


def _check_file(file: Path) -> None:
    if not file.is_file():
        hint = "" if file.suffix else "; what is to be made goes before --configfile"
        raise ConfigError(f"--configfile: found no file '{file}'{hint}")
    yaml_files.check_file(file, ConfigError)


class _Lines(DefaultFormatter):
    """Turns Snakemake's events into lines; an empty one is not written.

    Args:
        counts: whether the line of a finished job counts all jobs.
    """

    def __init__(self, settings: Any, counts: bool) -> None:
        super().__init__(settings.quiet, settings.show_failed_logs)
        self._counts = counts
        self.interrupted = False
        self._dryrun = settings.dryrun
        self._verbose = settings.verbose
        self._total = 0
        self._done = 0
        self._started: dict[int, tuple[float, Job]] = {}
        """Running jobs: when they began, and what they do."""
        self._failures = Failures()
        self._final: set[int] = set()
        """Jobs that failed of what another try would fail of, too; Snakemake starts them again."""

    def format(self, record: logging.LogRecord) -> str:
        return media.visible(self._line(record))

    def _line(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        if record.getMessage().startswith(STOPPING):
            return "stopping; an image in hand is saved first"
        if self.interrupted and record.getMessage().rstrip().endswith(ENDED):
            return "interrupted, run again to go on"
        if record.getMessage().startswith(EXITING):
            own = "" if self.interrupted else self._failures.summary()
            return own + super().format(record)
        if event == LogEvent.JOB_FINISHED:
            return self._finished(record.job_id)
        if event in (LogEvent.PROGRESS, LogEvent.JOB_STARTED, LogEvent.RESOURCES_INFO):
            return ""
        if event is None and record.levelno < logging.WARNING and not self._verbose:
            message = record.getMessage()
            if (again := AGAIN.match(message)) and int(again["job"]) in self._final:
                return ""
            return "" if NOISE.match(message.strip()) else message.strip("\n")
        if OF_SCRIPT.fullmatch(record.getMessage()) and not self._verbose:
            # the line on its failure says where to look
            return ""
        if framed := FRAME.fullmatch(record.getMessage()):
            return f"Error: {framed['text']}"
        lacking = NO_RULE.match(record.getMessage())
        if lacking and (sentence := checks.no_target(lacking["target"])):
            return f"Error: {sentence}"
        if "Directory cannot be locked" in record.getMessage():
            return _held() or super().format(record)
        return super().format(record)

    def format_workflow_started(self, msg: dict[str, Any]) -> str:
        return ""

    def format_run_info(self, msg: dict[str, Any]) -> str:
        if self._total:
            # a dry run says it a second time
            return ""
        counts = {rule: count for rule, count in msg["stats"].items() if rule != "total"}
        self._total = msg["stats"]["total"]
        listed = ", ".join(f"{count} {rule}" for rule, count in counts.items())
        return f"{self._total} {'job' if self._total == 1 else 'jobs'}: {listed}"

    def format_job_info(self, msg: dict[str, Any]) -> str:
        what = msg["rule_msg"] or msg["rule_name"]
        if self._dryrun:
            return f"{msg['rule_name']:<12} {what} ({_short(msg['reason'])})"
        self._started[msg["jobid"]] = (time.monotonic(), Job(what, msg.get("wildcards") or {}))
        return ""

    def format_group_info(self, msg: dict[str, Any]) -> str:
        return ""

    def format_group_error(self, msg: dict[str, Any]) -> str:
        # each of its jobs says that it failed; why may be known to the scheduler alone
        logs = ", ".join(map(str, msg["aux_logs"] or ()))
        return f"{_clock()} FAILED allocation of {msg['groupid']}, see {logs}"

    def format_job_error(self, msg: dict[str, Any]) -> str:
        job = Job(msg["rule_name"], {})
        began, job = self._started.pop(msg["jobid"], (time.monotonic(), job))
        if self.interrupted or msg["jobid"] in self._final:
            return ""
        logs = ", ".join(msg["log"])
        if not logs:
            return "\n".join(self._format_job_error(msg))
        took = _seconds(time.monotonic() - began)
        line = f"{_clock()} FAILED {job.what} after {took}, see {logs}"
        reason = joblog.reason(msg["log"][0])
        if reason is None:
            return line
        self._final.add(msg["jobid"])
        return self._failures.told(job, reason, line)

    def _finished(self, job: int) -> str:
        began, (what, _) = self._started.pop(job, (time.monotonic(), Job(f"job {job}", {})))
        self._done += 1
        running = len(self._started)
        waiting = max(0, self._total - self._done - running)
        seconds = time.monotonic() - began
        took = f" in {_seconds(seconds)}" if seconds >= 0.05 else ""
        counts = f" [{self._done} done, {running} running, {waiting} waiting]"
        return f"{_clock()} {what}{took}{counts if self._counts else ''}"


def _held() -> str | None:
    """Return who holds the results, where Snakemake found its own lock in the working folder.

    A run that was killed leaves that lock too, and Snakemake says how it is removed.
    """
    results = Path(os.environ.get("LOCKSTEP_RESULTS", ""))
    known = (results / recovery.HOLDER).is_file() and recovery.is_held(results)
    return recovery.held_by(results) if known else None


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _short(reason: str) -> str:
    """Return the first of a job's reasons, with the first of the files that it names."""
    head, _, files = reason.partition("; ")[0].partition(": ")
    first, *others = files.split(", ")
    if first.startswith(BECAUSE):
        return first.removeprefix(BECAUSE).replace("-", " ")
    return head if not first else f"{head}: {first}{', …' if others else ''}"
