from snakemake.utils import min_version

min_version("9.27")

# a configuration file on the command line stands alone instead of overlaying the default one
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


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
