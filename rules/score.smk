rule score:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=f"{RESULTS}/{{editor}}/{{category}}/edits/shard-{{shard}}-of-{len(DEVICES)}.jsonl",
        rubric=lambda wildcards: CONFIG.judge.rubric_file(wildcards.category),
        model=judge_files(),
        code=library_files("scoring.py", *SCORE_CODE),
    output:
        f"{RESULTS}/{{editor}}/{{category}}/scores/shard-{{shard}}-of-{len(DEVICES)}.jsonl",
    log:
        f"{RESULTS}/logs/score/{{editor}}/{{category}}/shard-{{shard}}-of-{len(DEVICES)}.log",
    priority: priority("score")
    group:
        GROUP
    conda:
        "../envs/score.yaml"
    resources:
        **JUDGE_CLAIMS,
    params:
        judge=CONFIG.judge.model_dump(mode="json", exclude=CONFIG.judge.pace),
        finished=finished(CONFIG.judge),
    message:
        "scoring {wildcards.category} of {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/score.py"
