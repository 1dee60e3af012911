import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from lockstep import config as configuration
from lockstep import provenance, recovery, score_files
from lockstep.errors import LockstepError

try:
    CONFIG = configuration.load_comparison(
        config, source=" + ".join(map(str, workflow.configfiles))
    )
    recovery.check_tree(Path(CONFIG.results))
except LockstepError as error:
    raise WorkflowError(str(error)) from None

RESULTS = CONFIG.results
EDITORS = CATEGORIES = []
CPU_CLAIMS = {}
BECAUSE = {}


def report_files():
    return rules.compare.output


def protocol_files():
    return []
