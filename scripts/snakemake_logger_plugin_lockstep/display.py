"""The only writer to the terminal of a run: finished jobs scroll above, and below is what goes on.

All that this process and its jobs print goes through a pipe, so that no line is written into
another one.
"""

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lockstep.jobs import board, shown
from lockstep.jobs.shown import Progress, Row

FRAME = 0.25
"""Seconds between two pictures on a terminal."""

FILE = 1.0
"""Seconds between two states of the file."""

LINE = 60.0
"""Seconds between two lines on the whole run where there is no terminal."""

RARELY = 20
"""Share of its time in which this thread computes numbers, as its inverse."""

HEAD = ("device", "does", "editor", "category", "sample", "done", "pace")
"""What stands above the lines of devices."""

CUT, SHORT = ("editor", "category", "sample"), 8
"""Columns with names, and to how many columns of the terminal these are cut."""

DISPENSABLE = ("pace", "editor", "sample", "category")
"""Columns that are left out of a narrow terminal, the first one first."""

GAP = 2
"""Columns between two texts."""


def can_draw(stream: Any) -> bool:
    """Tell whether a stream is a terminal in which a display can be drawn and redrawn."""
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    known = os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return stream.isatty() and known and encoding == "utf8"


class Display(threading.Thread):
    """Shows a run from the moment that it starts until `stop`.

    Args:
        draws: whether this is a terminal to draw in; else lines are written now and then.
        speaks: whether there are such lines.
        colors: whether there are colors.
    """

    def __init__(self, draws: bool, speaks: bool, colors: bool) -> None:
        super().__init__(name="display", daemon=True)
        self.lock = threading.Lock()
        """Of the board."""
        self._draws = draws
        self._speaks = speaks
        self._colors = colors
        self._state = "running"
        self._over = threading.Event()
        self._kept: dict[int, int] = {}
        """Descriptors of the terminal, by the ones that lead into the pipe meanwhile."""
        self._pipe = -1
        self._rest = b""
        self._block: list[str] = []
        """Lines of a traceback that has not ended yet."""

    def start(self) -> None:
        if self._draws:
            _flush()
            self._pipe, into = os.pipe()
            for descriptor in filter(os.isatty, (1, 2)):
                self._kept[descriptor] = os.dup(descriptor)
                os.dup2(into, descriptor)
            os.close(into)
        super().start()

    def stop(self, interrupted: bool) -> None:
        """Write how the run has ended, and leave the terminal to others."""
        if self._over.is_set() or not self.ident:
            return
        with self.lock:
            whole = board.current is not None and board.current.succeeded
            self._state = "finished" if whole else "failed"
        if interrupted:
            self._state = "interrupted"
        _flush()
        self._over.set()
        self.join()
        with self.lock:
            board.end()

    def run(self) -> None:
        try:
            with self._live() as live:
                self._watch(live)
        finally:
            self._leave()

    @contextlib.contextmanager
    def _live(self) -> Iterator[Live | None]:
        if not self._draws:
            yield None
            return
        terminal = os.dup(next(iter(self._kept.values())))
        with open(terminal, "w", encoding="utf-8", errors="backslashreplace") as file:
            console = Console(
                file=file,
                force_terminal=True,
                no_color=not self._colors,
                highlight=False,
                markup=False,
                emoji=False,
            )
            _size(console, terminal)
            live = Live(
                console=console,
                auto_refresh=False,
                transient=True,
                # what is printed comes through the pipe, in its order
                redirect_stdout=False,
                redirect_stderr=False,
            )
            with live:
                # who kills this process finds it there
                console.show_cursor(True)
                yield live

    def _watch(self, live: Live | None) -> None:
        due = {"numbers": 0.0, "file": 0.0, "line": time.monotonic() + LINE}
        found = None
        while True:
            over, now = self._over.is_set(), time.monotonic()
            with self.lock:
                run = board.current
                if run is not None:
                    board.heard(run)
                if run is not None and (over or now >= due["numbers"]):
                    found = shown.progress(run, time.time(), self._state)
                    # in a run of many thousand jobs they take a while
                    due["numbers"] = now + RARELY * (time.monotonic() - now)
            if run is not None and found is not None and (over or now >= due["file"]):
                if run.executes:
                    shown.write(run, found)
                due["file"] = now + FILE
            text = self._read()
            if live is not None:
                _size(live.console, next(iter(self._kept.values())))
                if text:
                    live.console.print(Text.from_ansi(text), soft_wrap=True)
                live.update(_frame(found, live.console), refresh=True)
            elif self._speaks and found is not None and now >= due["line"]:
                print(time.strftime("%H:%M:%S"), shown.line(found), file=sys.stderr)
                due["line"] = now + LINE
            if over:
                return
            sources: list[Any] = [self._pipe] if self._pipe >= 0 else []
            if run is not None and run.listener is not None:
                sources.append(run.listener)
            select.select(sources, [], [], FRAME)
            # many reports make one picture
            self._over.wait(FRAME / 5)

    def _read(self) -> str:
        """Return whole lines of what was printed."""
        while self._pipe >= 0 and select.select([self._pipe], [], [], 0)[0]:
            data = os.read(self._pipe, 2**16)
            self._rest += data
            if not data:
                break
        whole, newline, self._rest = self._rest.rpartition(b"\n")
        lines = (whole + newline).decode(errors="replace").split("\n")[:-1]
        # of a line that was drawn several times the last state
        return "\n".join(self._told(line.rstrip("\r").rpartition("\r")[2] for line in lines))

    def _told(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield lines, without the tracebacks of jobs that Ctrl-C has ended within an import."""
        for line in lines:
            if line.startswith("Traceback (most recent") or (self._block and line[:1] == " "):
                self._block.append(line)
                continue
            if line != "KeyboardInterrupt":
                yield from self._block
                yield line
            self._block.clear()

    def _leave(self) -> None:
        """Give the terminal back, and pass on what nobody shows any more."""
        if self._pipe < 0:
            return
        _flush()
        for descriptor, terminal in self._kept.items():
            os.dup2(terminal, descriptor)
        text = "\n".join(filter(None, (self._read(), *self._block)))
        rest = text.encode() + (b"\n" if text else b"") + self._rest
        with contextlib.suppress(OSError):
            os.write(next(iter(self._kept.values())), rest)
        for descriptor in (self._pipe, *self._kept.values()):
            os.close(descriptor)
        self._pipe = -1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _size(console: Console, terminal: int) -> None:
    with contextlib.suppress(OSError):
        size = os.get_terminal_size(terminal)
        # one that nobody has told its size says 0, and nothing would be seen
        console.size = (size.columns or 80, size.lines or 24)  # type: ignore[assignment]


def _frame(found: Progress | None, console: Console) -> RenderableType:
    """Return the picture of a run: a line for each device, and one for all."""
    if found is None:
        return Text()
    width, height = console.size
    devices = [row for row in found.devices if row.device or row.of]
    silent = [row.does for row in found.devices if not (row.device or row.of)]
    # the heading, the run, perhaps in two lines, other jobs, and an empty line for the cursor
    room = max(1, height - 6)
    more = len(devices) - room
    parts: list[RenderableType] = [_table(devices[:room], width - 1)]
    if more > 0:
        parts.append(_cut(f"… and {more} more", width - 1))
    if silent:
        others = f", and {len(silent) - 1} more" if len(silent) > 1 else ""
        parts.append(_cut(f"{silent[0]}{others}", width - 1))
    return Group(*parts, Text(shown.line(found), "bold"), Text())


def _table(rows: Sequence[Row], width: int) -> Table:
    """Return a line for each device, no longer than `width`."""
    cells = [HEAD] + [
        (
            row.device,
            row.does,
            row.editor,
            " ".join(filter(None, (row.category, row.judge))),
            row.sample,
            f"{row.done} of {row.of}" if row.of else "",
            "" if row.seconds is None else f"{row.seconds:.3g} s each",
        )
        for row in rows
    ]
    natural = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    widths = _fitted(dict(zip(HEAD, natural, strict=True)), width)
    table = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    for name, own in widths.items():
        justify = "right" if name == "done" else "left"
        table.add_column(width=own, no_wrap=True, overflow="ellipsis", justify=justify)
    for row in cells:
        style = "dim" if row is HEAD else ""
        table.add_row(*(Text(row[HEAD.index(name)], style) for name in widths))
    return table


def _fitted(widths: dict[str, int], room: int) -> dict[str, int]:
    """Return columns that fit: long names are cut, then columns are left out."""
    for out in ("", *DISPENSABLE):
        widths.pop(out, None)
        cut = dict(widths)
        over = sum(cut.values()) + GAP * (len(cut) - 1) - room
        while over > 0 and (names := [name for name in cut if name in CUT and cut[name] > SHORT]):
            cut[max(names, key=lambda name: cut[name])] -= 1
            over -= 1
        if over <= 0:
            return cut
    return cut


def _cut(text: str, width: int) -> Text:
    line = Text(text, no_wrap=True, overflow="ellipsis")
    line.truncate(width, overflow="ellipsis")
    return line
