rule edit:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        # where a category begins decides which device edits what
        counts=f"{RESULTS}/manifest/counts.json",
        model=lambda wildcards: made_here(CONFIG.editor(wildcards.editor)),
        because=lambda wildcards: because(
            layout.edits(
                Path(RESULTS),
                wildcards.editor,
                wildcards.category,
                int(wildcards.shard),
                len(DEVICES),
            )
        ),
    output:
        f"{RESULTS}/{{editor}}/{{category}}/edits/shard-{{shard}}-of-{len(DEVICES)}.jsonl",
    log:
        f"{RESULTS}/logs/edit/{{editor}}/{{category}}/shard-{{shard}}-of-{len(DEVICES)}.log",
    priority: priority("edit")
    group:
        GROUP
    conda:
        "../envs/edit.yaml"
    resources:
        **EDIT_CLAIMS,
    message:
        "editing {wildcards.category} with {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/edit.py"
