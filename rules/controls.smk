rule anchor_set:
    input:
        manifests=expand(f"{RESULTS}/manifest/{{category}}.jsonl", category=CATEGORIES),
        tables=RUN.tables,
        because=because(f"{RESULTS}/anchor_set/anchors.jsonl"),
    output:
        f"{RESULTS}/anchor_set/anchors.jsonl",
        f"{RESULTS}/anchor_set/recorded.jsonl",
    log:
        f"{RESULTS}/logs/anchor_set.log",
    conda:
        "../envs/score.yaml"
    resources:
        **CPU_CLAIMS,
    message:
        "making an anchor set of this run's edits"
    script:
        "../scripts/rules/collect_anchors.py"


if CONFIG.judge.anchors:

    rule anchors:
        input:
            anchors=f"{CONFIG.judge.anchors}/anchors.jsonl",
            recorded=f"{CONFIG.judge.anchors}/recorded.jsonl",
            model=computed.made_here(CONFIG.judge),
            because=because(f"{RESULTS}/anchors/scores.jsonl"),
        output:
            f"{RESULTS}/anchors/scores.jsonl",
            f"{RESULTS}/anchors/drift.json",
        log:
            f"{RESULTS}/logs/anchors.log",
        conda:
            "../envs/score.yaml"
        resources:
            **ANCHOR_CLAIMS,
        message:
            "scoring the anchors in {input.anchors}"
        script:
            "../scripts/rules/judge_anchors.py"


if CONFIG.report.human_files:

    rule agreement:
        input:
            humans=CONFIG.report.human_files,
            tables=RUN.tables,
            because=because(f"{RESULTS}/agreement.json"),
        output:
            f"{RESULTS}/agreement.json",
        log:
            f"{RESULTS}/logs/agreement.log",
        conda:
            "../envs/report.yaml"
        resources:
            **CPU_CLAIMS,
        message:
            "comparing the judge with {input.humans}"
        script:
            "../scripts/rules/measure_agreement.py"
