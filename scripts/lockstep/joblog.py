"""Where a job speaks: details to its log file, one line to the terminal."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lockstep.errors import LockstepError, one_sentence

log = logging.getLogger(__name__)


@contextmanager
def job_log(path: str | Path) -> Iterator[IO[str]]:
    """Send everything that a job and its libraries print to a log file.

    Yields the terminal (or what stands in for it). An exception ends the process with its message
    in both places; the traceback of anything but a LockstepError is in the log.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with (
        os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8") as terminal,
        open(path, "w", buffering=1, encoding="utf-8") as file,
    ):
        sys.stdout.flush()
        sys.stderr.flush()
        # libraries write to the descriptors, not only to Python's streams
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        logging.basicConfig(
            stream=file,
            level=logging.INFO,
            format="%(asctime)s %(message)s",
            datefmt="%H:%M:%S",
            force=True,
        )
        logging.captureWarnings(True)
        warnings.simplefilter("once")
        began = time.monotonic()
        try:
            yield terminal
            log.info("finished in %.1f s", time.monotonic() - began)
        except LockstepError as error:
            log.error("%s", error)
            print(f"Error: {error}", file=terminal)
            sys.exit(1)
        except Exception as error:
            log.exception("failed after %.1f s", time.monotonic() - began)
            print(f"Error: {one_sentence(error)} (traceback in {path})", file=terminal)
            sys.exit(1)
