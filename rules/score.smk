SCORES = f"{RESULTS}/{{editor}}/{{category}}/scores/shard-{{shard}}-of-{{shards}}.jsonl"


rule score:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=lambda wildcards: RUN.judged(
            wildcards.editor, wildcards.category, int(wildcards.shard)
        ),
        model=computed.made_here(CONFIG.judge),
        because=because(SCORES),
    output:
        scores=SCORES,
        asked=f"{RESULTS}/{{editor}}/{{category}}/asked/shard-{{shard}}-of-{{shards}}.jsonl",
    log:
        f"{RESULTS}/logs/score/{{editor}}/{{category}}/shard-{{shard}}-of-{{shards}}.log",
    priority: lambda wildcards: RUN.priority("score", wildcards.editor, wildcards.category)
    group:
        GROUP
    conda:
        "../envs/score.yaml"
    resources:
        **JUDGE_CLAIMS,
    message:
        "scoring {wildcards.category} of {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/rules/score_shard.py"
