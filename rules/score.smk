rule score:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=f"{RESULTS}/{{editor}}/{{category}}/edits/shard-{{shard}}-of-{len(DEVICES)}.jsonl",
        rubric=f"{CONFIG.judge.rubrics}/{{category}}.yaml",
        model=model_files(CONFIG.judge.model),
        code=library_files(
            "images.py", "models.py", "plan.py", "records.py", "rubric.py", "scoring.py"
        )
        + library_files("judges/__init__.py", "judges/qwen3_vl.py"),
    output:
        f"{RESULTS}/{{editor}}/{{category}}/scores/shard-{{shard}}-of-{len(DEVICES)}.jsonl",
    log:
        f"{RESULTS}/logs/score/{{editor}}/{{category}}/shard-{{shard}}-of-{len(DEVICES)}.log",
    priority: priority("score")
    conda:
        "../envs/score.yaml"
    resources:
        **CLAIMS,
        gpu=1,
    params:
        judge=CONFIG.judge.model_dump(
            mode="json", exclude={"rubrics", "batch_size", "use_batch_inference"}
        ),
    message:
        "scoring {wildcards.category} of {wildcards.editor}, shard {wildcards.shard}"
    script:
        "../scripts/score.py"
