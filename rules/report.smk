rule tabulate:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=[f"{RESULTS}/{{editor}}/{{category}}/edits/{shard}" for shard in SHARDS],
        scores=[f"{RESULTS}/{{editor}}/{{category}}/scores/{shard}" for shard in SCORE_SHARDS],
        because=lambda wildcards: because(
            layout.table(Path(RESULTS), wildcards.editor, wildcards.category)
        ),
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
        "../envs/report.yaml"
    resources:
        **TABULATE_CLAIMS,
    message:
        "tabulating {wildcards.category} of {wildcards.editor}"
    script:
        "../scripts/tabulate.py"


rule report:
    input:
        tables=expand(table_of("{editor}", "{category}"), editor=EDITORS, category=CATEGORIES),
        summaries=expand(
            f"{RESULTS}/{{editor}}/{{category}}/summary.json", editor=EDITORS, category=CATEGORIES
        ),
        edits=expand(
            f"{RESULTS}/{{editor}}/{{category}}/edits/{{shard}}",
            editor=EDITORS,
            category=CATEGORIES,
            shard=SHARDS,
        ),
        rejected=f"{RESULTS}/manifest/rejected.jsonl",
        anchors=[f"{RESULTS}/anchors/drift.json"] if CONFIG.judge.anchors else [],
        agreement=[f"{RESULTS}/agreement.json"] if CONFIG.report.human_scores else [],
        because=because(Path(report_files()[0])),
        protocol=CONFIG.judge.protocol_file or [],
    output:
        report_files(),
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
        shards=len(DEVICES),
    message:
        "writing the report"
    script:
        "../scripts/report.py"


rule bundle:
    input:
        tables=expand(table_of("{editor}", "{category}"), editor=EDITORS, category=CATEGORIES),
        # what the page leads to
        files=[*report_files(), f"{RESULTS}/report/scores.csv"],
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
        "../scripts/bundle.py"
