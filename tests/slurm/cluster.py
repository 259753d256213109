"""A Slurm cluster on this machine: munged, slurmctld and a slurmd for each node name, with their own ports and state."""

import ctypes
import fcntl
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue"]

CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A job that goes back into the queue waits until its credential has expired: 2 minutes by default.
AuthInfo=socket={state}/munge.socket,cred_expire=5
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/%n
# Two nodes on one machine must not share the folder in which PMIx keeps the step's files.
TmpFS={state}/tmp.%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.%n.pid
SlurmctldLogFile={logs}/slurmctld.log
SlurmdLogFile={logs}/slurmd.%n.log
SlurmdDebug=debug
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
"""


class CannotStart(Exception):
    """This machine has no Slurm, or does not let it run."""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def end_with_parent():
    """A daemon ends with the test, even when that is killed (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


PREFIX = "protalbert_slurm_"


def end_processes(state):
    """Kills what belongs to the cluster of this state folder: daemons, job steps and jobs all have its configuration in
    their environment. Steps outlive their slurmd."""
    mark = f"SLURM_CONF={state}/slurm.conf".encode()
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int(place.name) != os.getpid() and mark in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)
        except OSError:  # ended meanwhile, or another user's
            pass


def clear_aborted():
    """Ends what tests left that were killed: nobody holds the lock of their state folders any more."""
    for state in pathlib.Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            lock = open(state / "lock")
            if time.time() - os.fstat(lock.fileno()).st_mtime < 60:  # its owner may be about to take it
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a running test's, or one that is just being made
            continue
        end_processes(state)
        shutil.rmtree(state, ignore_errors=True)


class Cluster:
    """with Cluster(nodes=2) as cluster: Slurm's commands work in there. Logs are in the working folder."""

    STARTS = 3  # another program may take a port between its choice and its use

    def __init__(self, nodes):
        self.names = [f"node{number + 1}" for number in range(nodes)]
        self.daemons = []

    def __enter__(self):
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        missing = [name for name in PROGRAMS if not shutil.which(name)]
        if missing:
            raise CannotStart(f"there is no {', '.join(missing)}: apt install slurm-wlm munge")
        clear_aborted()
        for number in range(1, self.STARTS + 1):
            # Not in the working folder, because the path of a socket may have 107 letters.
            self.state = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
            self.lock = open(self.state / "lock", "w")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            try:
                self.start()
                return self
            except CannotStart:
                self.stop()
                if number == self.STARTS:
                    raise
            except BaseException:
                self.stop()
                raise

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.state.chmod(0o755)  # munged insists that others can reach its socket
        for name in ["controller", *self.names, *(f"tmp.{name}" for name in self.names)]:
            (self.state / name).mkdir()
        key = self.state / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        ports = free_ports(1 + len(self.names))
        lines = CONFIGURATION.format(state=self.state, logs=pathlib.Path.cwd(), user=getpass.getuser(),
                                     controller_port=ports[0])
        for name, port in zip(self.names, ports[1:]):
            lines += f"NodeName={name} NodeHostname=localhost Port={port} CPUs=4\n"
        lines += "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        configuration = self.state / "slurm.conf"
        configuration.write_text(lines)
        # Nothing here uses cgroups, but slurmd looks for them unless told which, and a chroot has none.
        (self.state / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        os.environ["SLURM_CONF"] = str(configuration)

        self.launch("munged", "--foreground", f"--key-file={key}", f"--socket={self.state}/munge.socket",
                    f"--pid-file={self.state}/munged.pid", f"--log-file={self.state}/munged.log",
                    f"--seed-file={self.state}/munged.seed")
        self.wait("munged", lambda: (self.state / "munge.socket").exists())
        self.launch("slurmctld", "-D")
        for name in self.names:
            self.launch("slurmd", "-D", "-N", name, log=f"slurmd.{name}")
        self.wait("the nodes", lambda: output("sinfo", "-h", "-o", "%t").split() == ["idle"])
        try:
            subprocess.run(["srun", f"-N{len(self.names)}", "true"], check=True, timeout=30, capture_output=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise CannotStart(f"srun starts nothing: {error.stderr}") from error

    def launch(self, *command, log=None):
        log = pathlib.Path(f"{log or command[0]}.out").resolve()
        with open(log, "w") as file:
            self.daemons.append(subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                                                 preexec_fn=end_with_parent))
        self.daemons[-1].log = log

    def wait(self, what, condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            for daemon in self.daemons:
                if daemon.poll() is not None:
                    raise CannotStart(f"{daemon.args[0]} ended; the last of {daemon.log}:\n" +
                                      "\n".join(daemon.log.read_text().splitlines()[-5:]))
            if time.monotonic() > end:
                raise CannotStart(f"{what} did not start in {seconds} s; the logs are in {pathlib.Path.cwd()}")
            time.sleep(0.1)

    def stop(self):
        if len(self.daemons) > 1:  # what a failed test leaves running
            try:
                subprocess.run(["scancel", "--user", getpass.getuser()], timeout=10, capture_output=True)
                end = time.monotonic() + 20
                while output("squeue", "-h") and time.monotonic() < end:
                    time.sleep(0.2)
            except subprocess.TimeoutExpired:
                pass
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        self.daemons = []
        end_processes(self.state)
        shutil.rmtree(self.state, ignore_errors=True)
        self.lock.close()


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
