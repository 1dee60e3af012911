rule score:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=judged_edits,
        model=made_here(CONFIG.judge),
        because=lambda wildcards: because(
            layout.scores(
                Path(RESULTS),
                wildcards.editor,
                wildcards.category,
                int(wildcards.shard),
                len(JUDGES),
            )
        ),
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
    message:
        "scoring {wildcards.category} of {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/score.py"
