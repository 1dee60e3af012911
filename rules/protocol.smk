if CONFIG.judge.protocol_file is not None:

    rule protocol:
        input:
            protocol=CONFIG.judge.protocol_file,
            rubrics=sorted({CONFIG.judge.rubric_file(category) for category in CATEGORIES}),
            tables=expand(table_of("{editor}", "{category}"), editor=EDITORS, category=CATEGORIES),
            code=library_files(
                "protocol.py", "published.py", "rubric.py", "stats.py", "tables.py", "ties.py"
            ),
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
