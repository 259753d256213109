"""What the restart tests share, beside tests/train/pretrain.py: processes to kill, and files compared bit by bit."""

import os
import pathlib
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "train"))
from pretrain import children

# Of a line of metrics, what a restart may change.
TIMES = {"seconds", "tokens_per_second", "model_flops_per_second", "skipped_steps"}
SECONDS_TO_END = 30  # in which a job must end after one of its ranks was killed


def arrays(checkpoint):
    """The bytes of a checkpoint's arrays, in their order in the file: what its seal leaves out (src/io/seal.hpp)."""
    data = pathlib.Path(checkpoint).read_bytes()
    ranges, hdf5_end, _, magic = struct.unpack("<QQQ8s", data[-32:])
    assert magic == b"pa_seal1", f"{checkpoint} has no seal"
    table = struct.unpack(f"<{2 * ranges}Q", data[hdf5_end : hdf5_end + 16 * ranges])
    return b"".join(data[first:last] for first, last in zip(table[::2], table[1::2]))


def without_times(lines):
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


class Job:
    """A program with its ranks in a session of its own; its output goes to a file."""

    def __init__(self, command, log, **environment):
        self.log = pathlib.Path(log)
        self.output = open(self.log, "w")
        self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True,
                                        env={**os.environ, **environment})
        self.launched = len(command) > 2 and "mpirun" in command[0]

    def ranks(self):
        """Process ids of the ranks; empty before they are started."""
        if not self.launched:
            return [self.process.pid]
        return children(self.process.pid)

    def text(self):
        return self.log.read_text(errors="replace")

    def running(self):
        return self.process.poll() is None

    def send(self, process, number):
        try:
            os.kill(process, number)
            return True
        except ProcessLookupError:
            return False

    def wait(self, seconds):
        """The exit code, once all ranks are gone too; None when that takes longer."""
        ranks = self.ranks()
        deadline = time.monotonic() + seconds
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        while any(alive(rank) for rank in ranks):
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)
        self.output.close()
        return self.process.returncode

    def kill_all(self):
        ranks = self.ranks()
        for rank in ranks:  # mpirun puts its children in sessions of their own
            self.send(rank, signal.SIGKILL)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return ranks


def alive(process):
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def guards(launcher):
    """How many guards of this mpirun live: each holds a socket named after it (src/comm/launcher_guard.cpp)."""
    return pathlib.Path("/proc/net/unix").read_text().count(f"@protalbert guard of {launcher} in ")


def wait_until(condition, job, seconds=60):
    """Whether the condition came true while the job ran."""
    deadline = time.monotonic() + seconds
    while job.running() and time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.001)
    return False
