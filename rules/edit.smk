EDITS = f"{RESULTS}/{{editor}}/{{category}}/edits/shard-{{shard}}-of-{{shards}}.jsonl"


rule edit:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        # where a category begins decides which device edits what
        counts=f"{RESULTS}/manifest/counts.json",
        rewritten=lambda wildcards: RUN.rewritten(wildcards.editor, wildcards.category),
        model=lambda wildcards: computed.made_here(CONFIG.editor(wildcards.editor)),
        because=because(EDITS),
    output:
        EDITS,
    log:
        f"{RESULTS}/logs/edit/{{editor}}/{{category}}/shard-{{shard}}-of-{{shards}}.log",
    priority: lambda wildcards: RUN.priority("edit", wildcards.editor, wildcards.category)
    group:
        GROUP
    conda:
        "../envs/edit.yaml"
    resources:
        **EDIT_CLAIMS,
    message:
        "editing {wildcards.category} with {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/rules/edit_shard.py"
