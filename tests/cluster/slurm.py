"""A real Slurm on this machine: three nodes that are processes, with GPUs that are files."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SETTINGS = Path("/etc/slurm")
"""Where jobs look for the settings, whatever their environment says."""

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")

NODES = {"large": 4, "small": 2, "spare": 1}
"""Nodes and their GPUs; `spare` is a partition of its own."""

CONF = """
ClusterName=lockstep
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=1,bf_interval=2
# a busy machine is none that failed
MessageTimeout=60
SlurmdTimeout=0
KillWait=5
NodeName=large NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 RealMemory=64000 \
Gres=gpu:4
NodeName=small NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 RealMemory=64000 \
Gres=gpu:2
NodeName=spare NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[3]} CPUs=16 RealMemory=64000 \
Gres=gpu:1
PartitionName=main Nodes=large,small Default=YES MaxTime=INFINITE State=UP
PartitionName=spare Nodes=spare MaxTime=INFINITE State=UP
"""


def lacking() -> str | None:
    """Return what this machine lacks for a Slurm of the tests' own; None if nothing."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"found no {', '.join(missing)}, needed is `apt-get install munge slurm-wlm`"
    if os.geteuid() != 0:
        return "found an ordinary user, needed is root, which starts Slurm's services"
    if (SETTINGS / "slurm.conf").exists():
        return f"found {SETTINGS}/slurm.conf, needed is a machine without a Slurm of its own"
    return None


@contextmanager
def running() -> Iterator[Path]:
    """Run Slurm while the block lasts and yield the folder with its logs."""
    names = ("slurm.conf", "gres.conf", "cgroup.conf")
    kept = {name: SETTINGS / name for name in names if (SETTINGS / name).exists()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        for path in kept.values():
            path.rename(path.with_suffix(".kept"))
            stack.callback(path.with_suffix(".kept").rename, path)
        for name in names:
            stack.callback((SETTINGS / name).unlink, missing_ok=True)
        _configure(folder)
        socket_file, key = folder / "munge.socket", folder / "munge.key"
        munged = ["munged", "--foreground", "--force", f"--socket={socket_file}"]
        munged += [f"--key-file={key}", f"--log-file={folder}/munged.log"]
        munged += [f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munge.seed"]
        _start(stack, folder, munged)
        _until(socket_file.exists, "munged to listen", folder)
        _start(stack, folder, ["slurmctld", "-D", "-c"])
        for name in NODES:
            _start(stack, folder, ["slurmd", "-D", "-c", "-N", name])
        # jobs end before the nodes do
        stack.callback(_cancel_all)
        states = ("sinfo", "--noheader", "--Node", "--format=%N %T")
        _until(lambda: tell(*states).count(" idle\n") == len(NODES), "idle nodes", folder)
        yield folder


def tell(*command: str) -> str:
    """Run a command of Slurm and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else f"{done.stdout}{done.stderr}"


def jobs() -> dict[str, str]:
    """Return the state of each job that waits or runs."""
    return dict(line.split() for line in tell("squeue", "-h", "-o", "%i %T").splitlines())


def _configure(folder: Path) -> None:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(1 + len(NODES))]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    gres, first = [], 0
    for name, count in NODES.items():
        (folder / name).mkdir()
        for number in range(first, first + count):
            # as /dev/null: all that Slurm asks of a device is that it is one
            os.mknod(folder / f"gpu{number}", 0o20666, os.makedev(1, 3))
        files = f"gpu[{first}-{first + count - 1}]" if count > 1 else f"gpu{first}"
        gres.append(f"NodeName={name} Name=gpu File={folder}/{files}")
        first += count
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    folder.chmod(0o755)
    (SETTINGS / "slurm.conf").write_text(CONF.format(folder=folder, ports=ports))
    (SETTINGS / "gres.conf").write_text("\n".join(gres) + "\n")
    (SETTINGS / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")


def _start(stack: ExitStack, folder: Path, command: list[str]) -> None:
    with open(folder / "out.log", "a") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cancel_all() -> None:
    tell("scancel", "--user=root")
    deadline = time.monotonic() + 30
    while jobs() and time.monotonic() < deadline:
        time.sleep(0.5)


def _until(condition, what: str, folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
            sys.exit(f"waited in vain for {what}\n{logs}")
        time.sleep(0.2)
