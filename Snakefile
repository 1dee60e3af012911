import os
import sys

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, update_config

min_version("9.27")

sys.path.append(os.path.join(workflow.basedir, "scripts"))

from lockstep import yaml_files
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


# Snakemake leaves nested values of --config texts
for values in given:
    update_config(config, values)


# a configuration without a benchmark compares what is there
if "compare" in config and "benchmark" not in config:

    include: "rules/comparison.smk"
    include: "rules/because.smk"

else:

    include: "rules/common.smk"
    include: "rules/because.smk"
    include: "rules/prepare.smk"
    include: "rules/edit.smk"
    include: "rules/score.smk"
    include: "rules/controls.smk"
    include: "rules/report.smk"
    include: "rules/protocol.smk"


include: "rules/compare.smk"


rule all:
    default_target: True
    input:
        report_files(),
        protocol_files(),
    message:
        "report ready: {input[0]}"


for key in CATEGORIES:
    for name in CONFIG.benchmark.named[key].targets:

        rule:
            name:
                name
            input:
                expand(table_of("{editor}", key), editor=EDITORS),
            message:
                f"tables of {name} ready"


for editor in EDITORS:

    rule:
        name:
            editor
        input:
            expand(table_of(editor, "{category}"), category=CATEGORIES),
        message:
            f"tables of {editor} ready"
