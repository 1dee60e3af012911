rule tabulate:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=lambda wildcards: RUN.edits(*wildcards),
        scores=lambda wildcards: RUN.scores(*wildcards),
        because=because(RUN.table("{editor}", "{category}")),
    output:
        table=report(
            f"{RESULTS}/{{editor}}/{{category}}/table.csv",
            category="Tables",
            caption="captions/table.rst",
            labels={"editor": "{editor}", "category": "{category}"},
        ),
        summary=f"{RESULTS}/{{editor}}/{{category}}/summary.json",
    log:
        f"{RESULTS}/logs/tabulate/{{editor}}/{{category}}.log",
    group:
        GROUP
    conda:
        "../envs/metrics.yaml" if CONFIG.metrics.models else "../envs/report.yaml"
    resources:
        **TABULATE_CLAIMS,
    message:
        "tabulating {wildcards.category} of {wildcards.editor}"
    script:
        "../scripts/rules/tabulate_scores.py"


rule report:
    input:
        tables=RUN.tables,
        summaries=expand(
            f"{RESULTS}/{{editor}}/{{category}}/summary.json", editor=EDITORS, category=CATEGORIES
        ),
        edits=[p for editor in EDITORS for key in CATEGORIES for p in RUN.edits(editor, key)],
        rejected=f"{RESULTS}/manifest/rejected.jsonl",
        anchors=[f"{RESULTS}/anchors/drift.json"] if CONFIG.judge.anchors else [],
        agreement=[f"{RESULTS}/agreement.json"] if CONFIG.report.human_files else [],
        arena=[layout.arena(Path(RESULTS))] if CONFIG.judge.pairs and RUN.compares_pairs else [],
        judges=layout.judges(Path(RESULTS))[:1] if RUN.judges else [],
        because=because(RUN.report[0]),
        protocol=CONFIG.judge.protocol_file or [],
    output:
        RUN.report,
        means=report(f"{RESULTS}/report/means.svg", category="Scores", caption="captions/means.rst"),
        scores=report(
            f"{RESULTS}/report/scores.csv", category="Scores", caption="captions/scores.rst"
        ),
        sheets=[
            report(
                str(sheet),
                category="Images",
                caption="captions/sheet.rst",
                labels={"editor": editor, "category": category, "image": image},
            )
            for editor in EDITORS
            for category in CATEGORIES
            for image, sheet in layout.sheets(Path(RESULTS), editor, category).items()
        ],
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../envs/report.yaml"
    # thumbnails made at a time
    threads: 16
    resources:
        **CPU_CLAIMS,
    params:
        devices=len(RUN.devices),
    message:
        "writing the report"
    script:
        "../scripts/rules/write_report.py"


rule bundle:
    input:
        tables=RUN.tables,
        # what the page leads to
        files=[*RUN.report, f"{RESULTS}/report/scores.csv"],
    output:
        f"{RESULTS}/report.zip",
    log:
        f"{RESULTS}/logs/bundle.log",
    conda:
        "../envs/report.yaml"
    # images copied at a time
    threads: 16
    resources:
        **CPU_CLAIMS,
    params:
        background=CONFIG.benchmark.background,
    message:
        "packing the report into {output}"
    script:
        "../scripts/rules/pack_bundle.py"


rule rating:
    input:
        tables=RUN.tables,
        manifests=expand(f"{RESULTS}/manifest/{{category}}.jsonl", category=CATEGORIES),
        rubrics=[CONFIG.judge.rubric_file(key) for key in CATEGORIES],
        because=because(layout.rating(Path(RESULTS))[0]),
    output:
        layout.rating(Path(RESULTS)),
    log:
        f"{RESULTS}/logs/rating.log",
    conda:
        "../envs/report.yaml"
    # images copied at a time
    threads: 16
    resources:
        **CPU_CLAIMS,
    params:
        rating=CONFIG.rating.model_dump(mode="json"),
        language=CONFIG.report.language,
    message:
        "writing the page to rate, {output[0]}"
    script:
        "../scripts/rules/write_rating.py"
