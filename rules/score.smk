SCORES = f"{RESULTS}/{{editor}}/{{category}}/scores/shard-{{shard}}-of-{{shards}}.jsonl"
OTHERS_SCORES = (
    f"{RESULTS}/{{editor}}/{{category}}/scores/{{judge}}/shard-{{shard}}-of-{{shards}}.jsonl"
)
OTHERS_ASKED = (
    f"{RESULTS}/{{editor}}/{{category}}/asked/{{judge}}/shard-{{shard}}-of-{{shards}}.jsonl"
)


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


for name, judge in list(CONFIG.each_judge.items())[1:]:

    rule:
        name:
            f"score_{name}"
        input:
            manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
            edits=lambda wildcards: RUN.judged(
                wildcards.editor, wildcards.category, int(wildcards.shard), wildcards.judge
            ),
            model=computed.made_here(judge),
            because=because(OTHERS_SCORES),
        output:
            scores=OTHERS_SCORES,
            asked=OTHERS_ASKED,
        log:
            f"{RESULTS}/logs/score/{{editor}}/{{category}}/{{judge}}/"
            "shard-{shard}-of-{shards}.log",
        wildcard_constraints:
            judge=re.escape(name),
        priority: lambda own: RUN.priority("score", own.editor, own.category, own.judge)
        group:
            GROUP
        conda:
            "../envs/score.yaml"
        resources:
            **OTHERS_CLAIMS[name],
        message:
            "scoring {wildcards.category} of {wildcards.editor} by {wildcards.judge}, "
            "shard {wildcards.shard}"
        script:
            "../scripts/rules/score_shard.py"
