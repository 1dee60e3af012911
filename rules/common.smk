import json
import os
import sys
import uuid
from pathlib import Path

from snakemake.exceptions import WorkflowError

from lockstep import config as configuration
from lockstep import allocation, device, hosts, hub, layout, media, plan, provenance, records
from lockstep import recovery, rubric, score_files
from lockstep.errors import LockstepError
from lockstep.judges import precomputed as finished_scores

# what the rule tiny_models makes; only a configuration that names them needs them
TINY_BENCHMARK = "results/tiny/benchmark.json"
TINY_EDITOR = [
    f"results/tiny/qwen-image-edit/{name}"
    for name in (
        "model_index.json",
        "processor/chat_template.jinja",
        "processor/processor_config.json",
        "processor/tokenizer.json",
        "processor/tokenizer_config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/generation_config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    )
]
TINY_JUDGE = [
    f"results/tiny/qwen3-vl/{name}"
    for name in (
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    )
]
TINY_FILES = [TINY_BENCHMARK, *TINY_EDITOR, *TINY_JUDGE]

try:
    # a job may run before what others look for is made
    if workflow.is_main_process:
        SOURCE = " + ".join(map(str, workflow.configfiles))
        CONFIG = configuration.load_config(config, SOURCE, produced=TINY_FILES)
    else:
        CONFIG = configuration.of_job(config)
    DEVICES = allocation.planned(CONFIG)
    TOGETHER = CONFIG.judge.gpus_per_judge
    JUDGES = device.split(DEVICES, TOGETHER)
    if workflow.is_main_process and CONFIG.cluster is None:
        limits = workflow.resource_settings.resources
        limits = {name: workflow.global_resources[name].value for name in limits}
        allocation.check_limits(limits, TOGETHER)
        device.check_visible(DEVICES)
        if CONFIG.devices.accelerator == "auto" and DEVICES[0].kind == "cpu":
            print(
                f"devices: found no GPU here, runs on CPU slots: {', '.join(d.name for d in DEVICES)} "
                "(devices.accelerator: auto)",
                file=sys.stderr,
            )
    if workflow.is_main_process and workflow.output_settings.dryrun:
        # what would stop a run
        for sentence in hub.lacking(CONFIG, SOURCE):
            print(media.entry(sentence), file=sys.stderr)
        try:
            recovery.check_writable(Path(CONFIG.results))
        except LockstepError as error:
            print(media.entry(str(error)), file=sys.stderr)
    if workflow.is_main_process and not workflow.output_settings.dryrun:
        recovery.check_writable(Path(CONFIG.results))
    rubrics = {
        category: rubric.read_rubric(CONFIG.judge.rubric_file(category))
        for category in CONFIG.benchmark.categories
    }
    if workflow.is_main_process and getattr(CONFIG.judge, "scores", None) is not None:
        finished_scores.check_scores(
            CONFIG.judge.scores, [editor.name for editor in CONFIG.editors], rubrics
        )
    if workflow.is_main_process and CONFIG.report.human_scores is not None:
        # it takes pandas
        from lockstep import agreement

        humans = Path(CONFIG.report.human_scores)
        agreement.read_humans(humans, [editor.name for editor in CONFIG.editors])
    if workflow.is_main_process:
        recovery.check_tree(Path(CONFIG.results))
    BECAUSE = provenance.stale(CONFIG, len(DEVICES), rubrics) if workflow.is_main_process else {}
except LockstepError as error:
    raise WorkflowError(str(error)) from None

RESULTS = CONFIG.results
CATEGORIES = CONFIG.benchmark.categories
EDITORS = [editor.name for editor in CONFIG.editors]
SHARDS = [plan.shard_file(k, len(DEVICES)) for k in range(len(DEVICES))]
SCORE_SHARDS = [plan.shard_file(k, len(JUDGES)) for k in range(len(JUDGES))]

LIBRARY = Path(os.path.relpath(workflow.basedir)) / "scripts" / "lockstep"


wildcard_constraints:
    editor="|".join(map(re.escape, EDITORS)),
    category="|".join(map(re.escape, CATEGORIES)),
    shard=r"\d+",


def slots(*names):
    """Return the number of shards that can run at a time under the limits of resources."""
    limits = [workflow.global_resources.get(name).value for name in names]
    return min(len(DEVICES), *(limit for limit in limits if isinstance(limit, int)))


def claim(shard):
    """Return what a job claims of a shard's device: all of its own, nothing of the others."""
    return lambda wildcards: 1 if int(wildcards.shard) == shard else None


EDIT_CLAIMS = {**{f"gpu{k}": claim(k) for k in range(len(DEVICES))}, "gpu": 1}
CPU_CLAIMS = TABULATE_CLAIMS = {}
GROUP = None

# A judge on the devices claims its own like an editor; one behind a server claims its job's share
# of the requests that the server may get at a time.
JUDGE_CLAIMS = ANCHOR_CLAIMS = {}
if CONFIG.judge.on_device:
    JUDGE_CLAIMS = {f"gpu{k}": claim(k // TOGETHER) for k in range(len(DEVICES))}
    JUDGE_CLAIMS["gpu"] = TOGETHER
    ANCHOR_CLAIMS = {**{f"gpu{k}": 1 for k in range(TOGETHER)}, "gpu": TOGETHER}
if isinstance(CONFIG.judge, configuration.OpenAIJudge):
    workflow.register_resource("requests", CONFIG.judge.concurrency)
    requests = plan.requests_at_a_time(CONFIG.judge.concurrency, len(JUDGES))
    JUDGE_CLAIMS = ANCHOR_CLAIMS = {"requests": requests}

if CONFIG.cluster is not None:

    include: "cluster.smk"

else:
    # One device runs one job at a time, whatever the stage; these limits survive --resources.
    for k in range(len(DEVICES)):
        workflow.register_resource(f"gpu{k}", 1)
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", len(DEVICES))
    os.environ.setdefault("LOCKSTEP_SLOTS", str(slots("gpu", "_cores")))
    if workflow.is_main_process:
        os.environ[allocation.BEGUN_WITH] = json.dumps(DEVICES)

HELD = []
"""The lock of the results, for as long as this process executes."""

# The logger tells by it who holds the results.
os.environ["LOCKSTEP_RESULTS"] = RESULTS

# Jobs inherit the environment: the invocation's name and the shards that can run at a time.
os.environ.setdefault("LOCKSTEP_RUN", uuid.uuid4().hex)
# Jobs end with the process that reads this file, which is the one that starts them on their host.
os.environ["LOCKSTEP_STARTER"] = str(os.getpid())


def check_server(reach):
    """Check what a judge behind a server needs, before the first edit."""
    if isinstance(CONFIG.judge, configuration.OpenAIJudge):
        from lockstep.judges.openai_api import check_environment

        try:
            check_environment(CONFIG.judge, reach)
        except LockstepError as error:
            raise WorkflowError(str(error)) from None


if workflow.is_main_process and workflow.output_settings.dryrun:
    try:
        check_server(reach=False)
    except WorkflowError as error:
        # a dry run shows jobs that may not judge
        print(media.entry(f"Before anything can be judged: {error}"), file=sys.stderr)


# Models stay on devices between jobs of this process; a job that runs elsewhere loads its own.
if workflow.remote_exec:
    config.setdefault("devices", {})["resident"] = False


onstart:
    try:
        HELD.append(recovery.hold(Path(CONFIG.results)))
    except LockstepError as error:
        raise WorkflowError(str(error)) from None
    stages = {job.rule.name for job in workflow.dag.needrun_jobs()}
    if lacking := hub.lacking(CONFIG, SOURCE, stages):
        raise WorkflowError("\n".join(lacking))
    hosts.sweep()
    records.sweep(Path(CONFIG.results))
    # what only a judgement needs is asked for where any is to be made
    if workflow.is_main_process and stages & {"score", "anchors"} and not workflow.touch:
        check_server(reach=CONFIG.cluster is None)


onsuccess:
    hosts.end_run()


onerror:
    hosts.end_run()


envvars:
    "LOCKSTEP_RESULTS",
    "LOCKSTEP_RUN",
    "LOCKSTEP_SLOTS",
    "LOCKSTEP_STARTER",


def judged_edits(wildcards):
    """Return the records of the edits that a score job judges."""
    folder = f"{RESULTS}/{wildcards.editor}/{wildcards.category}/edits"
    return [f"{folder}/{SHARDS[k]}" for k in plan.edit_shards(int(wildcards.shard), TOGETHER)]


def priority(stage):
    """Edit before score; one editor and category after the other, in the configured order.

    No two of them have the same priority: all devices take them in the same order, so the shards
    of one never hold devices that the shards of another, which hold the rest, wait for.
    """
    order = [(editor, category) for editor in EDITORS for category in CATEGORIES]
    base = {"edit": len(order), "score": 0}[stage]
    return lambda wildcards: (
        base + len(order) - order.index((wildcards.editor, wildcards.category))
    )


def made_here(model):
    """Return the files of a model's folder that the workflow makes itself; none of another."""
    folder = os.path.normpath(getattr(model, "model", ""))
    return [path for path in TINY_FILES if path.startswith(f"{folder}/")]


def library_files(*names):
    return [str(LIBRARY / name) for name in names]


def table_of(editor, category):
    return f"{RESULTS}/{editor}/{category}/table.csv"


def report_files():
    return list(map(str, layout.report(Path(RESULTS), EDITORS, CATEGORIES)))


def protocol_files():
    """Return what sums the editors up as the benchmark does; nothing without a protocol."""
    if CONFIG.judge.protocol_file is None:
        return []
    return [f"{RESULTS}/report/protocol.{form}" for form in ("json", "md")]
