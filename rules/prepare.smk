rule tiny_models:
    input:
        code=computed.library_files("demo/tiny.py", "demo/scenes.py", "demo/scenes.yaml"),
    output:
        benchmark=tiny.TINY_BENCHMARK,
        editor=tiny.TINY_EDITOR,
        judge=tiny.TINY_JUDGE,
    log:
        f"{RESULTS}/logs/tiny_models.log",
    conda:
        "../envs/edit.yaml"
    resources:
        **CPU_CLAIMS,
    message:
        "making tiny random-weight models and a small benchmark"
    script:
        "../scripts/rules/make_tiny_models.py"


rule prepare:
    input:
        benchmark=[path for path in [CONFIG.benchmark.path] if path in tiny.TINY_FILES],
        because=because(f"{RESULTS}/manifest/counts.json"),
    output:
        manifests=expand(f"{RESULTS}/manifest/{{category}}.jsonl", category=CATEGORIES),
        rejected=f"{RESULTS}/manifest/rejected.jsonl",
        counts=f"{RESULTS}/manifest/counts.json",
        sources=f"{RESULTS}/manifest/sources.jsonl",
    log:
        f"{RESULTS}/logs/prepare.log",
    conda:
        "../envs/report.yaml"
    # images decoded at a time
    threads: 16
    resources:
        **CPU_CLAIMS,
    message:
        f"reading {CONFIG.benchmark.path}"
    script:
        "../scripts/rules/prepare_manifests.py"


# a word of Python, so no name for a rule that is written out
rule:
    name:
        "import"
    input:
        benchmark=[path for path in [CONFIG.benchmark.path] if path in tiny.TINY_FILES],
    log:
        f"{RESULTS}/logs/import.log",
    conda:
        "../envs/report.yaml"
    resources:
        **CPU_CLAIMS,
    message:
        f"looking at {CONFIG.benchmark.path}"
    script:
        "../scripts/rules/survey_benchmark.py"
