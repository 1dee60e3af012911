# What all rules share. All that is computed here is computed by lockstep.workflow.

import json
import os
import re
import sys
import uuid
from functools import cache, partial

from lockstep import layout
from lockstep import workflow as computed
from lockstep.config import series
from lockstep.config.load import called, with_own_files, with_rubrics
from lockstep.demo import files as tiny
from lockstep.errors import LockstepError
from lockstep.foreign import media
from lockstep.report import language
from lockstep.jobs import allocation, paired, several, stale, takeover, workers

SOURCE = called(workflow.configfiles)
if workflow.config_settings.config_args:
    SOURCE += " + --config"

FOLDERS = list(map(os.path.dirname, workflow.configfiles))

try:
    config = with_own_files(with_rubrics(config, [BESIDE, *FOLDERS]), FOLDERS)
    if workflow.is_main_process:
        RUN = computed.load(config, SOURCE)
        given = workflow.resource_settings.resources
        given = {name: workflow.global_resources[name].value for name in given}
        for sentence in computed.checked(RUN, SOURCE, given, workflow.output_settings.dryrun):
            print(media.entry(sentence), file=sys.stderr)
        BECAUSE = computed.stale(RUN)
    else:
        RUN, BECAUSE = computed.of_job(config), {}
    COMPARED = RUN.compared
except LockstepError as error:
    raise WorkflowError(str(error)) from None

CONFIG = RUN.settings
RESULTS = CONFIG.results
EDITORS, CATEGORIES = RUN.editors, RUN.categories
say = partial(language.plain, CONFIG.report.language)
(
    REWRITE_CLAIMS,
    EDIT_CLAIMS,
    JUDGE_CLAIMS,
    ANCHOR_CLAIMS,
    PAIR_CLAIMS,
    TABULATE_CLAIMS,
    CPU_CLAIMS,
    GROUP,
    OTHERS_CLAIMS,
) = computed.claims(RUN)


@cache
def mark(reason):
    """Return the file of a reason why outputs are made again.

    It lies in the working folder, which all jobs see; the results stay as they are until jobs run.
    """
    return stale.mark(reason, BECAUSE, Path(".snakemake", "because"))


def because(output):
    """Return an input that has an output made again that does not fit what is asked for.

    It is a function of the wildcards, so that no file is made where no plan is.
    """

    def marks(wildcards):
        path = Path(str(output).format_map(dict(wildcards.items())))
        return [mark(BECAUSE[path])] if path in BECAUSE else []

    return marks
