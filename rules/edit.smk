rule edit:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        # where a category begins decides which device edits what
        counts=f"{RESULTS}/manifest/counts.json",
        model=editor_files,
        adapters=adapter_files,
        code=library_files("editing.py", "images.py", "models.py", "plan.py", "records.py")
        + library_files("adapter_scale.py", "plain_text.py", "qwen_vl.py", "stages.py")
        + sorted(map(str, (LIBRARY / "editors").glob("*.py"))),
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
    params:
        seed=CONFIG.seed,
        editor=lambda wildcards: CONFIG.editor(wildcards.editor).model_dump(
            mode="json", exclude={"offload"}
        ),
        finished=lambda wildcards: finished(CONFIG.editor(wildcards.editor)),
        state=lambda wildcards: state(editor_files(wildcards)),
        # another file at the same place may well be older than the edits
        adapters=adapter_identities,
    message:
        "editing {wildcards.category} with {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/edit.py"
