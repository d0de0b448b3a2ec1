"""A sweep on a Slurm cluster of two nodes, both on this machine: requeued, bereft of a node, and whole in the end.

    make test-slurm        or: python3 scripts/test_slurm.py [--sdviz PROGRAM] [--keep]

Installs slurm-wlm and munge by apt-get where they are missing, which takes root. Everything else is in a temporary folder:
the configuration, a munge key of its own, the daemons' state and logs. No systemd, no control groups, no accounting. Two
slurmd with names and ports of their own stand for two machines. Prints a line for each check, exits with 0 or 1, and stops
whatever it started, however it ends: a process is ours when it has our configuration in its environment.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODES = ["node1", "node2"]
TASKS = 4
# Twelve cells: two axes, one to three steps.
AXES = ["--prompt", "a red apple", "--steps", "1,2,3", "--seed", "1-4", "--width", "32", "--height", "32"]
CONF = """\
ClusterName=sdviz
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its credential has expired, 120 seconds unless this says less.
AuthInfo=socket={dir}/munge.sock,cred_expire=5
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool.%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
MpiDefault=none
JobRequeue=1
ReturnToService=2
KillWait=2
SlurmdTimeout=10
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=1000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=1000
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=10 State=UP
"""


# What undoes what was started.
STOPS = []


class Failed(Exception):
    """A check that did not hold, or something that cannot be started."""


def check(what, holds, why=""):
    print(f"{'ok  ' if holds else 'FAIL'}  {what}" + (f": {why}" if why and not holds else ""), flush=True)
    if not holds:
        raise Failed(what)


def wait(what, until, seconds=90):
    """Waits until `until()` gives something, and gives it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := until():
            return found
        time.sleep(0.05)
    raise Failed(f"waited {seconds} s in vain: {what}")


def install():
    programs = ["munged", "slurmctld", "slurmd", "sbatch", "scontrol"]
    if all(map(shutil.which, programs)):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed("Slurm is missing, and only root on a Debian system can install it here: slurm-wlm, munge")
    quiet = dict(stdout=subprocess.DEVNULL, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    subprocess.run(["apt-get", "update", "-q"], **quiet)
    subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", "slurm-wlm", "munge"], **quiet)


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Cluster:
    def __init__(self, folder):
        self.dir = folder
        self.daemons = {}
        self.conf = folder / "slurm.conf"
        # Named in the environment of all that is started here, and so of all that the daemons start.
        self.env = {**os.environ, "SLURM_CONF": str(self.conf), "OMP_NUM_THREADS": "1"}
        host = socket.gethostname().split(".")[0]
        self.conf.write_text(CONF.format(dir=folder, host=host, ports=free_ports(3)))
        # Without it, some builds of Slurm look for a hierarchy of control groups that a container does not have.
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (folder / "state").mkdir()
        for node in NODES:
            (folder / f"spool.{node}").mkdir()

    def start(self):
        key = self.dir / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        named = {"socket": "munge.sock", "key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log",
                 "seed-file": "munged.seed"}
        self.spawn("munged", ["munged", "--foreground", *(f"--{k}={self.dir / v}" for k, v in named.items())])
        wait("munged's socket", lambda: self.alive("munged") and (self.dir / "munge.sock").exists(), 20)
        self.spawn("slurmctld", ["slurmctld", "-D", "-c", "-f", str(self.conf)])
        for node in NODES:
            self.spawn(node, ["slurmd", "-D", "-N", node, "-f", str(self.conf)])
        wait("both nodes to be idle", lambda: self.states() == {n: "idle" for n in NODES}, 40)

    def spawn(self, name, command):
        # Debian keeps daemons where a user's PATH may not lead.
        env = {**self.env, "PATH": self.env["PATH"] + ":/usr/sbin:/sbin"}
        out = open(self.dir / f"{name}.out", "wb")
        self.daemons[name] = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def alive(self, name):
        code = self.daemons[name].poll()
        if code is not None:
            last = (self.dir / f"{name}.out").read_text(errors="replace").strip().splitlines()[-3:]
            raise Failed(f"{name} ended with {code}: {' | '.join(last)}")
        return True

    def call(self, *command, fails=False):
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        if done.returncode != 0 and not fails:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def states(self):
        for name in ["slurmctld"]:
            self.alive(name)
        rows = self.call("sinfo", "-h", "-N", "-o", "%N %t", fails=True).splitlines()
        return dict(row.split() for row in rows if len(row.split()) == 2)

    def tasks(self, job):
        """What Slurm knows of each task of the array: its number, its job's number, state, node, restarts."""
        tasks = {}
        for line in self.call("scontrol", "-o", "show", "job", job, fails=True).splitlines():
            about = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if about.get("ArrayTaskId", "").isdigit():
                tasks[int(about["ArrayTaskId"])] = about
        return tasks

    def processes(self, **environment):
        """Processes that have our configuration, and these other values, in their environment."""
        wanted = {f"{k}={v}".encode() for k, v in {"SLURM_CONF": self.conf, **environment}.items()}
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if wanted <= set((entry / "environ").read_bytes().split(b"\0")):
                    found.append((int(entry.name), name_of(entry.name)))
            except OSError:
                pass
        return found

    def kill_node(self, node):
        """As a machine that loses its power: its slurmd, the jobs' keepers and the jobs, all at once."""
        jobs = {t["JobId"] for t in self.tasks(self.job).values() if t.get("NodeList") == node}
        works = [pid for job in jobs for pid, _ in self.processes(SLURM_JOB_ID=job)]
        # The keepers go before the jobs: one that is left would tell the controller that the job failed.
        keepers = [pid for pid in map(parent, works) if name_of(pid).startswith("slurmstepd")]
        doomed = [self.daemons[node].pid, *keepers, *works]
        for pid in dict.fromkeys(doomed):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.daemons[node].wait()

    def stop(self):
        for sign in [signal.SIGTERM, signal.SIGKILL]:
            # munged last, for the others speak through it.
            for pid, _ in self.processes():
                try:
                    os.kill(pid, sign)
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + 5
            for daemon in self.daemons.values():
                daemon.poll()
            while time.monotonic() < end and any(daemon.poll() is None for daemon in self.daemons.values()):
                time.sleep(0.1)


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def open_files(pid):
    names = []
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            names.append(os.readlink(link))
    except OSError:
        pass
    return "\n".join(names).encode()


def files(sweep):
    """Every file of the cells that is a cell's bytes: run.json has timings, the page is made from it."""
    cells = sweep / "cells"
    kept = [p for p in cells.rglob("*") if p.is_file() and p.name not in ("run.json", "index.html")]
    return {str(p.relative_to(cells)): p.read_bytes() for p in kept}


def complete(sweep):
    runs = [json.loads(p.read_text()) for p in sweep.glob("cells/[0-9a-f]*/run.json")]
    return sum(run["status"] == "complete" for run in runs)


def in_the_middle(cluster, node):
    """A task on this node that is making a cell, with the process that makes it, halted where it is."""
    for task in cluster.tasks(cluster.job).values():
        if task.get("NodeList") == node and task["JobState"] == "RUNNING":
            for pid, name in cluster.processes(SLURM_JOB_ID=task["JobId"]):
                if name == "sdviz" and any(".part-" in f for f in open_files(pid).decode(errors="replace").split("\n")):
                    os.kill(pid, signal.SIGSTOP)
                    return task
    return None


def run(options, folder):
    install()
    sdviz = Path(options.sdviz).resolve()
    common = ["sweep", *AXES, "--model", str(ROOT / "tests/goldens/tiny-sd")]
    cluster = Cluster(folder)
    STOPS.append(cluster.stop)
    cluster.start()
    check("a cluster of two nodes", True)

    shared = folder / "shared"
    # sdviz writes the script, asks sbatch, and prints the job's number.
    cluster.job = cluster.call(str(sdviz), *common, "--out", str(shared), "--submit", "slurm", "--tasks", str(TASKS))
    check("sbatch takes the array", cluster.job.isdigit(), cluster.job)

    task = wait("a cell in the making on node1", lambda: in_the_middle(cluster, "node1"))
    cluster.call("scontrol", "requeue", task["JobId"])
    number = int(task["ArrayTaskId"])
    again = wait("the requeue", lambda: restarted(cluster, number))
    check(f"task {number} is requeued while it makes a cell", again)

    task = wait("a cell in the making on node2", lambda: in_the_middle(cluster, "node2"))
    before = complete(shared)
    told = cluster.call(str(sdviz), "sweep", "--status", str(shared))
    check("--status names the node and the task", "node2, process" in told and f"_{task['ArrayTaskId']}" in told, told)
    cluster.kill_node("node2")
    lost = int(task["ArrayTaskId"])
    wait("Slurm to miss node2", lambda: cluster.states().get("node2", "").startswith("down"))
    check(f"node2 dies while task {lost} makes a cell, {before} of 12 cells done", before < 12)
    check(f"task {lost} is queued again", wait(f"task {lost} to be queued again", lambda: restarted(cluster, lost), 30))

    def ended():
        tasks = cluster.tasks(cluster.job)
        return len(tasks) == TASKS and all(t["JobState"] not in ("RUNNING", "PENDING", "COMPLETING", "REQUEUED")
                                           for t in tasks.values()) and tasks
    tasks = wait("the array's end", ended, 150)
    ends = {n: t["JobState"] for n, t in sorted(tasks.items())}
    check("every task ends well", set(ends.values()) == {"COMPLETED"}, str(ends))
    check("every cell is complete", complete(shared) == 12, f"{complete(shared)} of 12")
    told = cluster.call(str(sdviz), "sweep", "--status", str(shared))
    check("--status says so", told.startswith("12 cells: 12 done"), told)
    left = [p.name for p in (shared / "cells").glob(".*")]
    check("nothing is left of what was interrupted", not left, " ".join(left))

    alone = folder / "alone"
    subprocess.run([sdviz, *common, "--out", alone, "--quiet"], env=cluster.env, check=True, stdout=subprocess.DEVNULL)
    check("cells: the same bytes as undisturbed on one machine", files(shared) == files(alone),
          ", ".join(sorted(k for k in files(alone) if files(alone)[k] != files(shared).get(k))[:5]))
    for name in ["grid.png", "cells.csv"]:
        same = (shared / "exports" / name).read_bytes() == (alone / "exports" / name).read_bytes()
        check(f"{name}: the same bytes", same)


def restarted(cluster, task):
    return int(cluster.tasks(cluster.job).get(task, {}).get("Restarts", "0")) >= 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdviz", default=str(ROOT / "target/debug/sdviz"), help="the program")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder, with the daemons' logs")
    options = parser.parse_args()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="sdviz-slurm-"))
    # munged wants a folder that every user may pass through; the key in it only its owner may read.
    folder.chmod(0o755)
    try:
        run(options, folder)
        print(f"all checks hold ({time.monotonic() - started:.0f} s)")
        return 0
    except (Failed, subprocess.SubprocessError, OSError) as error:
        print(f"FAIL  {error}")
        for log in sorted([*folder.glob("*.log"), *folder.glob("*.out"), *folder.glob("shared/slurm/*.log")]):
            last = log.read_text(errors="replace").strip().splitlines()[-5:]
            print(f"--- {log.name}", *last, sep="\n")
        return 1
    finally:
        for stop in STOPS:
            stop()
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
