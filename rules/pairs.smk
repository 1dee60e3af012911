DEVICES = len(RUN.devices)
ARENA = str(layout.arena(Path(RESULTS)))
PAIRS = f"{RESULTS}/pairs/{{category}}/round-{{round}}"
COMPARED_PAIRS = f"{PAIRS}/shard-{{shard}}-of-{paired.shards(CONFIG, DEVICES)}.jsonl"


wildcard_constraints:
    round=r"\d+",


rule choose_pairs:
    input:
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=lambda wildcards: paired.every_edit(CONFIG, wildcards.category, DEVICES),
        earlier=lambda wildcards: paired.earlier(
            CONFIG, wildcards.category, int(wildcards.round), DEVICES
        ),
        because=because(f"{PAIRS}/chosen.jsonl"),
    output:
        f"{PAIRS}/chosen.jsonl",
    log:
        f"{RESULTS}/logs/choose_pairs/{{category}}/round-{{round}}.log",
    conda:
        "../envs/report.yaml"
    resources:
        **CPU_CLAIMS,
    params:
        devices=DEVICES,
    message:
        "choosing pairs of {wildcards.category}, round {wildcards.round}"
    script:
        "../scripts/rules/choose_pairs.py"


rule pairs:
    input:
        chosen=f"{PAIRS}/chosen.jsonl",
        manifest=f"{RESULTS}/manifest/{{category}}.jsonl",
        edits=lambda wildcards: paired.every_edit(CONFIG, wildcards.category, DEVICES),
        model=computed.made_here(CONFIG.judge),
        because=because(COMPARED_PAIRS),
    output:
        COMPARED_PAIRS,
    log:
        f"{RESULTS}/logs/pairs/{{category}}/round-{{round}}-shard-{{shard}}.log",
    conda:
        "../envs/score.yaml"
    resources:
        **PAIR_CLAIMS,
    params:
        devices=DEVICES,
    message:
        "comparing pairs of {wildcards.category}, round {wildcards.round}, shard {wildcards.shard}"
    script:
        "../scripts/rules/judge_pairs.py"


rule arena:
    input:
        pairs=paired.every_pair(CONFIG, DEVICES),
        tables=RUN.tables,
        because=because(ARENA),
    output:
        ARENA,
    log:
        f"{RESULTS}/logs/arena.log",
    conda:
        "../envs/report.yaml"
    resources:
        **CPU_CLAIMS,
    params:
        devices=DEVICES,
    message:
        "rating editors by pairs in {output}"
    script:
        "../scripts/rules/rate_editors.py"
