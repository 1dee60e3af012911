rule anchor_set:
    input:
        manifests=expand(f"{RESULTS}/manifest/{{category}}.jsonl", category=CATEGORIES),
        tables=expand(table_of("{editor}", "{category}"), editor=EDITORS, category=CATEGORIES),
    output:
        f"{RESULTS}/anchor_set/anchors.jsonl",
        f"{RESULTS}/anchor_set/recorded.jsonl",
    log:
        f"{RESULTS}/logs/anchor_set.log",
    conda:
        "../envs/score.yaml"
    resources:
        **CPU_CLAIMS,
    params:
        editors=EDITORS,
    message:
        "making an anchor set of this run's edits"
    script:
        "../scripts/anchor_set.py"


if CONFIG.judge.anchors:

    rule anchors:
        input:
            anchors=f"{CONFIG.judge.anchors}/anchors.jsonl",
            rubrics=sorted({CONFIG.judge.rubric_file(category) for category in CATEGORIES}),
            recorded=f"{CONFIG.judge.anchors}/recorded.jsonl",
            model=judge_files(),
            code=library_files("anchors.py", *SCORE_CODE),
        output:
            f"{RESULTS}/anchors/scores.jsonl",
            f"{RESULTS}/anchors/drift.json",
        log:
            f"{RESULTS}/logs/anchors.log",
        conda:
            "../envs/score.yaml"
        resources:
            **ANCHOR_CLAIMS,
        params:
            judge=CONFIG.judge.model_dump(mode="json", exclude=CONFIG.judge.pace),
            finished=finished(CONFIG.judge),
            state=state(judge_files()),
        message:
            "scoring the anchors in {input.anchors}"
        script:
            "../scripts/anchors.py"


if CONFIG.report.human_scores:

    rule agreement:
        input:
            humans=CONFIG.report.human_scores,
            tables=expand(table_of("{editor}", "{category}"), editor=EDITORS, category=CATEGORIES),
            code=library_files("agreement.py", "ties.py"),
        output:
            f"{RESULTS}/agreement.json",
        log:
            f"{RESULTS}/logs/agreement.log",
        conda:
            "../envs/report.yaml"
        resources:
            **CPU_CLAIMS,
        params:
            state=state([CONFIG.report.human_scores]),
        message:
            "comparing the judge with {input.humans}"
        script:
            "../scripts/agreement.py"
