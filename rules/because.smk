# An output that does not fit what is asked for gets one more input: a file that is newer than it,
# called by the reason. It lies in the working folder, which all jobs see; the results stay as they
# are until jobs run.

import time
import uuid
from functools import cache


@cache
def mark(reason):
    """Make the file of a reason anew, newer than every output that is made again."""
    times = [path.stat().st_mtime for path in BECAUSE if path.exists()]
    path = Path(".snakemake", "because", reason)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Snakemake takes a file of the same content for the same
    path.write_text(uuid.uuid4().hex)
    if max(times, default=0) > time.time() + 1 and not workflow.output_settings.dryrun:
        latest = max((path for path in BECAUSE if path.exists()), key=lambda p: p.stat().st_mtime)
        raise WorkflowError(
            f"{latest}: found a time in the future, by the clock of this machine, and cannot tell "
            f"what is newer; set the clock, or the times: find {RESULTS} -exec touch {{}} +"
        )
    # older than what is made from now on, which Snakemake demands
    newer = max([time.time(), *(when + 0.001 for when in times)])
    os.utime(path, (newer, newer))
    return str(path)


def because(output):
    """Return the file of the reason why an output is made again; nothing if it fits."""
    return [mark(BECAUSE[output])] if output in BECAUSE else []
