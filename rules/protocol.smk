if CONFIG.judge.protocol_file is not None:

    rule protocol:
        input:
            protocol=CONFIG.judge.protocol_file,
            tables=expand(table_of("{editor}", "{category}"), editor=EDITORS, category=CATEGORIES),
            because=because(Path(protocol_files()[0])),
        output:
            protocol_files(),
        log:
            f"{RESULTS}/logs/protocol.log",
        conda:
            "../envs/report.yaml"
        resources:
            **CPU_CLAIMS,
        message:
            "summing up by {input.protocol}"
        script:
            "../scripts/protocol.py"
