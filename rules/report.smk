rule tabulate:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=[f"{RESULTS}/{{editor}}/{{category}}/edits/{shard}" for shard in SHARDS],
        scores=[f"{RESULTS}/{{editor}}/{{category}}/scores/{shard}" for shard in SHARDS],
        rubric=lambda wildcards: CONFIG.judge.rubric_file(wildcards.category),
        code=library_files("tables.py", "stats.py"),
    output:
        table=report(
            f"{RESULTS}/{{editor}}/{{category}}/table.csv",
            category="Tables",
            labels={"editor": "{editor}", "category": "{category}"},
        ),
        summary=f"{RESULTS}/{{editor}}/{{category}}/summary.json",
    log:
        f"{RESULTS}/logs/tabulate/{{editor}}/{{category}}.log",
    conda:
        "../envs/report.yaml"
    params:
        threshold=CONFIG.report.threshold_on(rubric.SCALE),
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
        code=library_files("drift.py", "stats.py", "tables.py")
        + sorted(map(str, (LIBRARY / "report").glob("*.py")))
        + sorted(map(str, (LIBRARY / "report" / "templates").glob("*.j2"))),
    output:
        report_files(),
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../envs/report.yaml"
    params:
        config=CONFIG.model_dump(mode="json"),
    message:
        "writing the report"
    script:
        "../scripts/report.py"
