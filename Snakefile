import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, update_config

min_version("9.27")

# beside this file, also where another workflow includes it as a module
BESIDE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.append(str(BESIDE / "scripts"))

from lockstep.config import checks
from lockstep.foreign import yaml_files
from lockstep.errors import ConfigError

DEFAULT = "config/config.yaml"

try:
    # Snakemake takes the last of two equal keys, and what aliases make large
    for file in workflow.overwrite_configfiles or filter(os.path.isfile, [DEFAULT]):
        yaml_files.check_file(file, ConfigError)
    given = [
        yaml_files.parse_entry(entry, ConfigError) for entry in workflow.config_settings.config_args
    ]
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# a configuration file on the command line stands alone instead of overlaying the default one
if not workflow.overwrite_configfiles:

    configfile: DEFAULT


if workflow.modifier.is_main_snakefile():
    # Snakemake leaves nested values of --config texts
    for values in given:
        update_config(config, values)
elif workflow.modifier.path_modifier.prefix or workflow.modifier.path_modifier.modifies_prefixes:
    raise WorkflowError(
        "module: expected paths as they are, found a prefix; "
        "`results` in the configuration says where outputs lie"
    )


include: "rules/common.smk"


# a configuration without a benchmark compares what is there
if not RUN.only_compares:

    include: "rules/start.smk"
    include: "rules/prepare.smk"
    include: "rules/rewrite.smk"
    include: "rules/edit.smk"
    include: "rules/score.smk"
    include: "rules/controls.smk"
    include: "rules/report.smk"
    include: "rules/protocol.smk"
    include: "rules/judges.smk"

    if RUN.compares_pairs:

        include: "rules/pairs.smk"


include: "rules/compare.smk"


rule all:
    default_target: True
    input:
        RUN.finished,
    message:
        say("outcome.report", page="{input[0]}")


TARGETS = {
    name: RUN.done(EDITORS, [key])
    for key in CATEGORIES
    for name in CONFIG.benchmark.named[key].targets
}
for name, members in ({} if RUN.only_compares else CONFIG.targets).items():
    TARGETS[name] = RUN.done(members, CATEGORIES)
SCORED = {} if RUN.only_compares else several.targets(CONFIG, len(RUN.devices))


for name, files in {**TARGETS, **SCORED}.items():

    rule:
        name:
            name
        input:
            files,
        message:
            say("outcome.scores" if name in SCORED else "outcome.tables", name=name)


# who asks for another target is told of them
checks.tell_targets(own.name for own in workflow.rules if not own.has_wildcards())
