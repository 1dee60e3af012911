if RUN.judges:

    rule judges:
        input:
            tables=RUN.tables,
            scores=several.every_score(CONFIG, len(RUN.devices)),
            because=because(layout.judges(Path(RESULTS))[0]),
        output:
            layout.judges(Path(RESULTS)),
        log:
            f"{RESULTS}/logs/judges.log",
        conda:
            "../envs/report.yaml"
        resources:
            **CPU_CLAIMS,
        params:
            devices=len(RUN.devices),
        message:
            f"comparing the judges {', '.join(judge.name for judge in CONFIG.judges)}"
        script:
            "../scripts/rules/compare_judges.py"
