if COMPARED:

    rule compare:
        input:
            sources=sorted({path for paths in COMPARED.values() for path in paths}),
            because=because(RUN.comparison[0]),
        output:
            RUN.comparison,
        log:
            f"{RESULTS}/logs/compare.log",
        conda:
            "../envs/report.yaml"
        resources:
            **CPU_CLAIMS,
        params:
            files=COMPARED,
            compare=CONFIG.compare.model_dump(mode="json"),
            report=CONFIG.report.model_dump(mode="json"),
        message:
            f"comparing {', '.join(COMPARED)} in {{output[0]}}"
        script:
            "../scripts/rules/compare_sources.py"
