"""What a node of the tests has beyond this machine: processors, GPUs' driver, time to edit.

Every Python process of a job reads this file before all else.
"""

import os
import sys

NODE = os.environ.get("SLURMD_NODENAME")

if NODE:
    # as many as Slurm believes; Snakemake starts no more jobs than there are
    os.sched_getaffinity = lambda pid: set(range(16))

if NODE and sys.orig_argv[-1].endswith(".edit_shard.py"):
    import time

    import pynvml

    from lockstep.editing import waves
    from lockstep.editors import identity

    pynvml.nvmlInit = pynvml.nvmlShutdown = lambda: None
    pynvml.nvmlDeviceGetHandleByIndex = lambda number: number
    pynvml.nvmlDeviceGetUUID = lambda number: f"GPU-{NODE}-{number}"

    # nodes are hosts of their own, and locks tell nothing of them
    _host = waves.host()
    waves.host = lambda: f"{_host}-{NODE}"

    _edit = identity.IdentityEditor.edit

    def edit(self, prepared, sample, seed):
        time.sleep(float(os.environ["EDIT_SECONDS"]))
        with open(os.environ["EDITS"], "a", encoding="utf-8") as file:
            file.write(f"{sample.id}\n")
        return _edit(self, prepared, sample, seed)

    identity.IdentityEditor.edit = edit
