if CONFIG.compare is not None:
    # the tables of this run are made first
    OWN = expand(
        "{results}/{editor}/{category}/table.csv",
        results=RESULTS,
        editor=EDITORS,
        category=CATEGORIES,
    )
    try:
        for path in filter(os.path.isdir, CONFIG.compare.sources.values()):
            recovery.check_tree(Path(path))
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

    if workflow.is_main_process:
        for name, path in CONFIG.compare.sources.items():
            if COMPARED[name] is not OWN and os.path.isdir(path):
                try:
                    provenance.check_reported(Path(path), list(map(Path, COMPARED[name])))
                except LockstepError as error:
                    raise WorkflowError(str(error)) from None
        output = provenance.compared(Path(RESULTS), CONFIG.compare, CONFIG.report, COMPARED)
        if reason := provenance.misfit(output):
            BECAUSE[output.files[0]] = reason

    SOURCES = sorted({path for paths in COMPARED.values() for path in paths})

    rule compare:
        input:
            sources=SOURCES,
            because=because(Path(RESULTS, "compare", "compare.md")),
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
            compare=CONFIG.compare.model_dump(mode="json"),
            report=CONFIG.report.model_dump(mode="json"),
        message:
            f"comparing {', '.join(COMPARED)} in {{output[0]}}"
        script:
            "../scripts/compare.py"
