import json
import os
import sys
import uuid
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.append(str(Path(workflow.basedir) / "scripts"))

from lockstep import config as configuration
from lockstep import allocation, device, hosts, models, plan, recovery, rubric, score_files
from lockstep.benchmark.detect import deciding_files
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
    CONFIG = configuration.load_config(
        config, source=" + ".join(map(str, workflow.configfiles)), produced=TINY_FILES
    )
    DEVICES = allocation.planned(CONFIG)
    TOGETHER = CONFIG.judge.gpus_per_judge
    JUDGES = device.split(DEVICES, TOGETHER)
    if workflow.is_main_process and CONFIG.cluster is None:
        device.check_visible(DEVICES)
    if workflow.is_main_process and not workflow.output_settings.dryrun:
        recovery.check_writable(Path(CONFIG.results))
        hosts.sweep()
        # a power loss may leave files that only look complete
        for path in recovery.remove_incomplete(Path(CONFIG.results), len(DEVICES), TOGETHER):
            print(f"{path}: found it incomplete, it is made again", file=sys.stderr)
    rubrics = {
        category: rubric.read_rubric(CONFIG.judge.rubric_file(category))
        for category in CONFIG.benchmark.categories
    }
    if workflow.is_main_process and getattr(CONFIG.judge, "scores", None) is not None:
        finished_scores.check_scores(
            CONFIG.judge.scores, [editor.name for editor in CONFIG.editors], rubrics
        )
except LockstepError as error:
    raise WorkflowError(str(error)) from None

RESULTS = CONFIG.results
CATEGORIES = CONFIG.benchmark.categories
EDITORS = [editor.name for editor in CONFIG.editors]
SHARDS = [plan.shard_file(k, len(DEVICES)) for k in range(len(DEVICES))]
SCORE_SHARDS = [plan.shard_file(k, len(JUDGES)) for k in range(len(JUDGES))]

# what decides pixels and scores; a change of other code redoes no GPU work
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
    gpus = workflow.global_resources["gpu"].value
    # Snakemake would lower what a job claims to the limit, and start it all the same
    if TOGETHER > 1 and isinstance(gpus, int) and gpus < TOGETHER:
        raise WorkflowError(
            f"--resources gpu={gpus}: found too few for one judge, accepted is {TOGETHER} or more "
            "(judge.gpus_per_judge)"
        )
    os.environ.setdefault("LOCKSTEP_SLOTS", str(slots("gpu", "_cores")))
    if workflow.is_main_process:
        os.environ[allocation.BEGUN_WITH] = json.dumps(DEVICES)

# Jobs inherit the environment: the invocation's name and the shards that can run at a time.
os.environ.setdefault("LOCKSTEP_RUN", uuid.uuid4().hex)
# Jobs end with the process that reads this file, which is the one that starts them on their host.
os.environ["LOCKSTEP_STARTER"] = str(os.getpid())

# Models stay on devices between jobs of this process; a job that runs elsewhere loads its own.
if workflow.remote_exec:
    config.setdefault("devices", {})["resident"] = False


onsuccess:
    hosts.end_run()


onerror:
    hosts.end_run()


envvars:
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


def model_files(model):
    """Return the files of a model's folder that decide what it gives; none of a hub id."""
    if not configuration.is_folder(model):
        return []
    made = [path for path in TINY_FILES if path.startswith(f"{os.path.normpath(model)}/")]
    return made or list(map(str, models.model_files(model)))


def benchmark_files():
    """Return the files of the benchmark that decide its samples, but for images named by path."""
    settings = CONFIG.benchmark
    archive = [settings.images] if settings.images and os.path.isfile(settings.images) else []
    return [*map(str, deciding_files(settings.path, settings.format)), *archive]


def editor_files(wildcards):
    editor = CONFIG.editor(wildcards.editor)
    return model_files(editor.model) if isinstance(editor, configuration.DiffusersEditor) else []


def judge_files():
    """Return the files that the judge's scores come from; a server's cannot be seen from here."""
    match CONFIG.judge:
        case configuration.Qwen3VLJudge(model=model):
            return model_files(model)
        case configuration.PrecomputedJudge(scores=str(scores)):
            return [scores]
        case _:
            return []


def finished(settings):
    """Return the state of a folder of finished images or replies, a file for each sample.

    As inputs so many files would be as many in each job.
    """
    folder = getattr(settings, "folder", None)
    return None if folder is None else models.folder_state(folder)


def state(paths):
    """Return what changes when another file takes the place of one that is an input.

    That one may well be older than what was made of the one before, and Snakemake looks for newer
    ones. What the workflow makes itself needs none.
    """
    return models.files_state(path for path in paths if path not in TINY_FILES)


JUDGE_CODE = {
    "qwen3_vl": ["plain_text.py", "qwen_vl.py"]
    + [f"judges/{part}.py" for part in ("qwen3_vl", "decoding", "slots", "step_attention")],
    "openai": ["judges/openai_api.py"],
    "precomputed": ["judges/precomputed.py", "score_files.py"],
}[CONFIG.judge.type]


SCORE_CODE = ["images.py", "judging.py", "models.py", "plan.py", "records.py", "rubric.py"]
SCORE_CODE += ["judges/__init__.py", *JUDGE_CODE]


def adapters(wildcards):
    return getattr(CONFIG.editor(wildcards.editor), "adapters", ())


def adapter_files(wildcards):
    files = (adapter.file for adapter in adapters(wildcards))
    return [str(Path(file)) for file in files if file is not None]


def adapter_identities(wildcards):
    return list(map(models.adapter_identity, adapters(wildcards)))


def library_files(*names):
    return [str(LIBRARY / name) for name in names]


def table_of(editor, category):
    return f"{RESULTS}/{editor}/{category}/table.csv"


def report_files():
    names = ["report.html", "report.md", "report.json", "config.yaml", "scores.tex"]
    names += ["means.csv", "data/index.js"]
    names += [f"{plot}-{key}.csv" for plot in ("distribution", "criteria") for key in CATEGORIES]
    names += [f"lockstep-{editor}-{key}.csv" for editor in EDITORS for key in ("timeline", "curve")]
    return [f"{RESULTS}/report/{name}" for name in names]


def protocol_files():
    """Return what sums the editors up as the benchmark does; nothing without a protocol."""
    if CONFIG.judge.protocol_file is None:
        return []
    return [f"{RESULTS}/report/protocol.{form}" for form in ("json", "md")]
