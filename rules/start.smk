# Where jobs run, and how a run of them begins and ends.


wildcard_constraints:
    editor="|".join(map(re.escape, EDITORS)),
    category="|".join(map(re.escape, CATEGORIES)),
    shard=r"\d+",
    shards="|".join(map(str, RUN.counts)),


# these survive --resources
for name, limit in computed.limits(RUN).items():
    workflow.register_resource(name, limit)

if CONFIG.cluster is not None:

    include: "cluster.smk"

else:
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", len(RUN.devices))
    held = [workflow.global_resources.get(name).value for name in ("gpu", "_cores")]
    os.environ.setdefault("LOCKSTEP_SLOTS", str(computed.slots(RUN, *held)))
    if workflow.is_main_process:
        os.environ[allocation.BEGUN_WITH] = json.dumps(RUN.devices)

HELD = []
"""The lock of the results, for as long as this process executes."""

# The logger tells by it who holds the results.
os.environ["LOCKSTEP_RESULTS"] = RESULTS

# Jobs inherit the environment: the invocation's name and the shards that can run at a time.
os.environ.setdefault("LOCKSTEP_RUN", uuid.uuid4().hex)
# Jobs end with the process that reads this file, which is the one that starts them on their host.
os.environ["LOCKSTEP_STARTER"] = str(os.getpid())
# Snakemake calls nothing below in a workflow that includes this one as a module.
if workflow.is_main_process:
    os.environ[takeover.BY_JOBS] = str(int(not workflow.modifier.is_main_snakefile()))

# What a training writes meanwhile is for the next run.
os.environ.setdefault(series.FOUND, "{}")

# Models stay on devices between jobs of this process; a job that runs elsewhere loads its own.
if workflow.remote_exec:
    config.setdefault("devices", {})["resident"] = False


onstart:
    # it takes what a plan does without
    from lockstep.jobs import board, due, plans, scripts

    try:
        needed = list(workflow.dag.needrun_jobs())
        if mark.cache_info().currsize:
            stale.check_clock(BECAUSE, RESULTS)
        jobs = [(job.rule.script, job.wildcards_dict) for job in needed if job.rule.script]
        works = {job.jobid: (job.rule.script, job.wildcards_dict) for job in needed}
        if not RUN.only_compares and not workflow.touch:
            board.begin(CONFIG, RUN.devices, works)
        HELD.append(computed.begin(RUN, SOURCE, jobs, only_touches=workflow.touch))
        if not (RUN.only_compares or workflow.touch):
            scripts.begin(CONFIG, [script for script, _ in jobs])
        told = () if RUN.only_compares else plans.at_start(CONFIG, len(RUN.devices), jobs)
        for sentence in (*told, *due.at_start(CONFIG, jobs)):
            print(media.entry(sentence), file=sys.stderr)
        os.environ[takeover.BY_JOBS] = "0"
    except LockstepError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    from lockstep.jobs import board

    board.succeeded()
    workers.end_run()
    if not RUN.only_compares and (page := stale.older_page(RUN.results, RUN.tables)):
        print(media.entry(say("outcome.older", page=page)), file=sys.stderr)


onerror:
    workers.end_run()


envvars:
    takeover.BY_JOBS,
    series.FOUND,
    "LOCKSTEP_RESULTS",
    "LOCKSTEP_RUN",
    "LOCKSTEP_SLOTS",
    "LOCKSTEP_STARTER",
