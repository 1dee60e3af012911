if CONFIG.compare is not None:
    # the tables of this run are made first
    OWN = expand(
        "{results}/{editor}/{category}/table.csv",
        results=RESULTS,
        editor=EDITORS,
        category=CATEGORIES,
    )
    try:
        COMPARED = {
            name: (
                OWN
                if OWN and os.path.normpath(path) == os.path.normpath(RESULTS)
                else score_files.source_files(path)
            )
            for name, path in CONFIG.compare.sources.items()
        }
    except LockstepError as error:
        raise WorkflowError(str(error)) from None

    SOURCES = sorted({path for paths in COMPARED.values() for path in paths})

    rule compare:
        input:
            sources=SOURCES,
            code=library_files("stats.py", "tables.py", "score_files.py", "rubric.py", "ties.py")
            + sorted(map(str, (LIBRARY / "report").glob("*.py")))
            + sorted(map(str, (LIBRARY / "report" / "templates").glob("*.md.j2"))),
        output:
            f"{RESULTS}/compare/compare.md",
            f"{RESULTS}/compare/compare.json",
            f"{RESULTS}/compare/scores.csv",
            f"{RESULTS}/compare/scores.tex",
        log:
            f"{RESULTS}/logs/compare.log",
        conda:
            "../envs/report.yaml"
        resources:
            **CPU_CLAIMS,
        params:
            files=COMPARED,
            # as in common.smk; what this run makes is not there yet
            state=models.files_state(path for path in SOURCES if path not in OWN),
            compare=CONFIG.compare.model_dump(mode="json"),
            report=CONFIG.report.model_dump(mode="json"),
        message:
            f"comparing {', '.join(COMPARED)} in {{output[0]}}"
        script:
            "../scripts/compare.py"
