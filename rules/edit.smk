rule edit:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        model=editor_files,
        code=library_files("editing.py", "images.py", "models.py", "plan.py", "records.py")
        + library_files("editors/__init__.py", "editors/diffusers.py", "editors/precomputed.py"),
    output:
        f"{RESULTS}/{{editor}}/{{category}}/edits/shard-{{shard}}-of-{len(DEVICES)}.jsonl",
    log:
        f"{RESULTS}/logs/edit/{{editor}}/{{category}}/shard-{{shard}}-of-{len(DEVICES)}.log",
    priority: priority("edit")
    conda:
        "../envs/edit.yaml"
    resources:
        **CLAIMS,
        gpu=1,
    params:
        seed=CONFIG.seed,
        editor=lambda wildcards: CONFIG.editor(wildcards.editor).model_dump(mode="json"),
    message:
        "editing {wildcards.category} with {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/edit.py"
