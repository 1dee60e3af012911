# Where a scheduler runs the jobs. What they ask it for is in lockstep.workflow.

if CONFIG.cluster.image is not None:

    containerized: CONFIG.cluster.image


def limit(name):
    return workflow.global_resources.get(name).value


# The shards of one allocation share its devices and processors; jobs of their own all have theirs,
# and how many run at a time is what `--jobs` allows.
if workflow.is_main_process and workflow.global_resources["_nodes"].value is not None:
    os.environ.setdefault("LOCKSTEP_SLOTS", str(computed.slots(RUN, limit("_nodes"))))
elif workflow.is_main_process or (workflow.remote_exec and GROUP is not None):
    if CONFIG.devices.accelerator != "cpu" and (gpus := allocation.given()):
        workflow.register_resource("gpu", len(gpus))
    os.environ["LOCKSTEP_SLOTS"] = str(computed.slots(RUN, limit("gpu"), limit("_cores")))
