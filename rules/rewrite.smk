REWRITTEN = f"{RESULTS}/{{editor}}/{{category}}/rewritten.jsonl"


if any(editor.rewrite is not None for editor in CONFIG.editors):

    rule rewrite:
        input:
            manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
            because=because(REWRITTEN),
        output:
            REWRITTEN,
        log:
            f"{RESULTS}/logs/rewrite/{{editor}}/{{category}}.log",
        priority: lambda wildcards: RUN.priority("rewrite", wildcards.editor, wildcards.category)
        conda:
            "../envs/edit.yaml"
        resources:
            **REWRITE_CLAIMS,
        message:
            "rewriting the instructions of {wildcards.category} for {wildcards.editor}"
        script:
            "../scripts/rules/rewrite_instructions.py"
