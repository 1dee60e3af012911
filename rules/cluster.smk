# What jobs ask for where a scheduler runs them. The devices are its to give, so nothing here
# claims one by its number, and how many there are is for the configuration to say.

ASKED = CONFIG.cluster

if ASKED.image is not None:

    containerized: ASKED.image


def again(amount):
    """Return a resource of which each retry asks for as much again."""
    return lambda wildcards, attempt: amount * attempt


def named(**options):
    return {name: value for name, value in options.items() if value is not None}


CPU_CLAIMS = named(slurm_account=ASKED.account, slurm_partition=ASKED.cpu_partition)

EDIT_CLAIMS = {
    **named(slurm_account=ASKED.account, slurm_partition=ASKED.partition),
    "cpus_per_task": ASKED.cpus,
    "mem_mb": again(1000 * ASKED.memory),
    "runtime": again(ASKED.runtime),
    # a step runs on one node; resources of a group are summed, texts are not
    "slurm_extra": "-N1",
}
if CONFIG.devices.accelerator != "cpu":
    EDIT_CLAIMS |= {"gpu": 1, **named(gpu_model=ASKED.gpu_model)}

if not CONFIG.judge.on_device:
    JUDGE_CLAIMS = {**JUDGE_CLAIMS, **CPU_CLAIMS}
elif CONFIG.devices.accelerator == "cpu":
    JUDGE_CLAIMS = EDIT_CLAIMS
else:
    JUDGE_CLAIMS = {**EDIT_CLAIMS, "gpu": TOGETHER}
ANCHOR_CLAIMS = JUDGE_CLAIMS

TABULATE_CLAIMS = CPU_CLAIMS
if ASKED.allocation == "category":
    # what the table joins is one job of the scheduler, whose parts must not name two partitions
    GROUP = "{editor}-{category}"
    TABULATE_CLAIMS = {**named(slurm_account=ASKED.account), "runtime": again(15)}

# The shards of one allocation share its devices and processors; jobs of their own all have theirs,
# and how many run at a time is what `--jobs` allows.
if workflow.is_main_process and workflow.global_resources["_nodes"].value is not None:
    os.environ.setdefault("LOCKSTEP_SLOTS", str(slots("_nodes")))
elif workflow.is_main_process or (workflow.remote_exec and ASKED.allocation == "category"):
    if CONFIG.devices.accelerator != "cpu" and (gpus := allocation.given()):
        workflow.register_resource("gpu", len(gpus))
    os.environ["LOCKSTEP_SLOTS"] = str(slots("gpu", "_cores"))
