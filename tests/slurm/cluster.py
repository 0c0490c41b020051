"""A real Slurm of one machine: Debian's munged, slurmctld and slurmd on the loopback address, in one folder.

python -m tests.slurm.cluster FOLDER      runs one until it is interrupted, and says how to use it

Nothing outside of the folder is touched, so that several clusters can run beside each other.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vovnet.locks import Claim

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
REQUIRED = os.environ.get("VOVNET_SLURM") == "1"
INSTALL_LOCK = Path("/tmp/vovnet-slurm-install.lock")
START_LIMIT, STOP_LIMIT = 30.0, 15.0  # seconds

# No cgroup.conf and no plugin that wants systemd or accounts. config_overrides: four jobs on two cores.
CONFIG = """
ClusterName=vovnet
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=200000,batch_sched_delay=0,defer_batch
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NoCluster(Exception):  # noqa: N818  (not an error where the tests may be skipped)
    """Why there is no cluster here."""


@dataclass
class Cluster:
    """One running cluster; ``environment`` leads the commands of Slurm to it.

    Attributes:
        settings: lines of slurm.conf in place of those of the same key.
        hides: a folder that its node does not see.
    """

    folder: Path
    settings: tuple[str, ...] = ()
    hides: Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}

    def start(self) -> None:
        """Start the three daemons and wait until the node is idle.

        Raises:
            NoCluster: a program is missing and cannot be installed, or a daemon does not start.
        """
        install()
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)  # munged refuses a socket below a folder that others may not enter or may write to
        host = socket.gethostname().partition(".")[0]
        ports = free_ports(2)
        text = CONFIG.format(host=host, folder=self.folder, controller_port=ports[0], daemon_port=ports[1])
        keys = {line.partition("=")[0] for line in self.settings}
        kept = [line for line in text.splitlines() if line.partition("=")[0] not in keys]
        (self.folder / "slurm.conf").write_text("\n".join([*kept, *self.settings, ""]))
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._spawn("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *files)
        self._until("munged", lambda: (self.folder / "munge.socket").exists())
        self._spawn("slurmctld", "-D")
        self.bring_node()

    def bring_node(self) -> None:
        """Start the node, or bring it back; wait until it is idle."""
        if self.hides is None:
            self._spawn("slurmd", "-D")
        else:
            script = f"mount -t tmpfs none {self.hides} && exec slurmd -D"
            self._spawn("unshare", "--mount", "sh", "-c", script)
        self._until("slurmd", lambda: self.command("sinfo", "--noheader", "--format=%T").strip() == "idle")

    def lose_node(self) -> None:
        """Let the node go down, its jobs with it."""
        node = self.processes.pop()
        node.kill()
        node.wait()
        host = socket.gethostname().partition(".")[0]
        self.command("scontrol", "update", f"NodeName={host}", "State=DOWN", "Reason=lost")

    def stop(self) -> None:
        """End all jobs, then the daemons one after another: each needs those started before it to leave in order."""
        self.command("scancel", "--user=root")
        deadline = time.monotonic() + STOP_LIMIT
        while self.command("squeue", "--noheader") and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def command(self, *arguments: str) -> str:
        """Run one of Slurm's commands; returns what it prints."""
        done = subprocess.run(arguments, env=os.environ | self.environment, capture_output=True, text=True)
        return done.stdout

    def _spawn(self, *command: str) -> None:
        environment = os.environ | self.environment
        with (self.folder / f"{command[0]}.out").open("wb") as output:
            self.processes.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))

    def _until(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not ready():
            if any(process.poll() is not None for process in self.processes) or time.monotonic() > deadline:
                logs = [path.read_text(errors="replace") for path in sorted(self.folder.glob("*.out"))]
                self.stop()
                raise NoCluster(f"{name} did not start:\n" + "\n".join(log[-1500:] for log in logs))
            time.sleep(0.1)


def install() -> None:
    """Install Debian's packages unless the programs are here; only where the tests have to run.

    Raises:
        NoCluster: not root, or no Debian, or no network.
    """
    path = f"{os.environ['PATH']}:/usr/sbin"
    if os.geteuid() != 0:
        raise NoCluster("a cluster of one's own needs root")
    with Claim(INSTALL_LOCK):
        if all(shutil.which(name, path=path) for name in PROGRAMS):
            return
        if shutil.which("apt-get") is None:
            raise NoCluster("it is not installed, and there is no apt-get to install it")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]):
            done = subprocess.run(["apt-get", "-qq", *command], env=environment, capture_output=True, text=True)
            if done.returncode:
                raise NoCluster(f"apt-get {command[0]} failed: {done.stderr.strip()[-500:]}")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def main() -> None:
    """Run a cluster until interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    cluster = Cluster(Path(sys.argv[1]).absolute())
    cluster.start()
    try:
        print(" ".join(f"{key}={value}" for key, value in cluster.environment.items()), flush=True)
        signal.pause()
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
