rule score:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=judged_edits,
        rubric=lambda wildcards: CONFIG.judge.rubric_file(wildcards.category),
        model=judge_files(),
        code=library_files("scoring.py", *SCORE_CODE),
    output:
        f"{RESULTS}/{{editor}}/{{category}}/scores/shard-{{shard}}-of-{len(JUDGES)}.jsonl",
    log:
        f"{RESULTS}/logs/score/{{editor}}/{{category}}/shard-{{shard}}-of-{len(JUDGES)}.log",
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
        state=state(judge_files()),
        rubric=lambda wildcards: rubrics[wildcards.category].sha256,
    message:
        "scoring {wildcards.category} of {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/score.py"
