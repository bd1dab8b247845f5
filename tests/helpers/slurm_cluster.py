"""A real SLURM cluster on this machine, for as long as a `with` block lasts.

Controller and nodes live in namespaces of their own: each node has its own network, host name and /tmp/node-local, so
that a `localhost`, or a path that works on one machine only, fails. Where namespaces are not allowed, the nodes are
ports of the loopback device instead. The cluster depends on a pipe: when the process that opened it ends, however it
ends, the shell that holds the cluster reads end of file and ends everything in it.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "munged", "ip", "unshare", "nsenter")
PATHS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"])
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"}
NETWORK = "10.77.0"

HOLD = Path(__file__).with_suffix(".sh")

CONFIG = """
ClusterName=test
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
JobRequeue=1
ReturnToService=2
SlurmdTimeout=10
KillWait=10
MailProg=/bin/true
PartitionName=train Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=60 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        folder: Configuration, logs and state.
        prefix: Words that bring a command to where the controller and the nodes can be reached.
        namespaces: Whether each node has a network of its own.
    """

    folder: Path
    prefix: tuple[str, ...]
    namespaces: bool

    def run(self, *words: object, cwd: Path | None = None, check: bool = True, **environment: str) -> str:
        """Runs a command as a user at the login node would; returns what it printed."""
        prefix = [*self.prefix]
        if self.prefix and cwd:
            prefix.append(f"--wd={cwd}")  # nsenter begins in / of the mount namespace
        done = subprocess.run(
            [*prefix, *map(str, words)],
            cwd=cwd,
            env=clean_environment() | {"SLURM_CONF": str(self.folder / "slurm.conf")} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, job: str) -> dict[str, str]:
        """Returns what SLURM prints of a job: JobState, Restarts, ExitCode …"""
        return dict(re.findall(r"(\S+?)=(\S*)", self.run("scontrol", "show", "job", "--oneliner", job)))

    def wait(self, job: str, timeout_seconds: float = 600) -> str:
        """Waits for a job's end and returns its state; a requeued one is started again without SLURM's two minutes."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            shown = self.show(job)
            if shown["JobState"] in OVER:
                return shown["JobState"]
            if shown["JobState"] == "PENDING" and shown["Reason"] == "BeginTime":
                time.sleep(2)  # within the same second, a node refuses the new attempt's credential as revoked
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
            time.sleep(0.3)
        raise AssertionError(f"job {job} still runs after {timeout_seconds} s: {shown}")

    def power_cut(self, node: str) -> None:
        """Pulls a node's cable and kills everything that runs on it; needs namespaces."""
        self.run("bash", "-c", f"ip link set v{node[1:]} down && ip netns pids {node} | xargs kill -9")


def clean_environment() -> dict[str, str]:
    """Returns this process's environment with this Python first, without variables of a launcher or another cluster."""
    foreign = ("SLURM", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_", "WANDB_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return own | {"PATH": PATHS}


def missing() -> str:
    """Returns why there can be no cluster here; empty where there can."""
    absent = [name for name in NEEDED if shutil.which(name, path=PATHS) is None]
    if absent:
        return f"no {', '.join(absent)} (apt-get install slurm-wlm munge iproute2)"
    return "" if os.geteuid() == 0 else "only root can start SLURM's daemons"


@contextmanager
def cluster(folder: Path, nodes: int = 2, cpus: int = 2) -> Iterator[Cluster]:
    """Brings up `nodes` nodes with `cpus` cores and as many (imagined) GPUs each; waits until they are idle."""
    unshare = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net", "--uts", "--mount"]
    namespaces = subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
    _write_files(folder, nodes, cpus, namespaces)
    holder = subprocess.Popen(
        [*(unshare if namespaces else []), "bash", HOLD, folder, str(nodes), "yes" if namespaces else "no"],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "hold.log").open("w"),
        text=True,
    )
    assert holder.stdin and holder.stdout
    try:
        first_line = holder.stdout.readline()
        assert first_line == "ready\n", first_line + (folder / "hold.log").read_text()
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        prefix = ("nsenter", "-t", children[0], "-a") if namespaces else ()
        yield Cluster(folder, prefix, namespaces)
    finally:
        holder.stdin.close()
        holder.wait(30)


def _write_files(folder: Path, nodes: int, cpus: int, namespaces: bool) -> None:
    names = [f"n{number}" for number in range(1, nodes + 1)]
    (folder / "state").mkdir(parents=True)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    hosts = {"localhost": "127.0.0.1", "ctl": f"{NETWORK}.254"} | {name: f"{NETWORK}.{name[1:]}" for name in names}
    (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
    (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")  # no DNS to wait for
    for number in range(cpus):
        (folder / f"gpu{number}").touch()  # a device file as far as SLURM looks at it
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{cpus - 1}]\n")
    controller = "ctl" if namespaces else f"{os.uname().nodename.split('.')[0]}(127.0.0.1)"
    lines = [CONFIG.format(folder=folder), f"SlurmctldHost={controller}"]
    for number, name in enumerate(names):
        local = f"NodeHostname=localhost NodeAddr=127.0.0.1 Port={17001 + number}"
        where = f"NodeAddr={hosts[name]}" if namespaces else local
        lines.append(f"NodeName={name} {where} CPUs={cpus} Gres=gpu:{cpus} RealMemory=4000 State=UNKNOWN")
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
