"""The end of mpirun, and an mpirun that does not end: no rank is left behind, and no mpirun without ranks. Healthy jobs:
healthy_jobs.py."""

import signal
import time

from runs import SECONDS_TO_END, Job, alive, guards, wait_until
from pretrain import check, clean, command, finish, prepare, write_deck, write_proteins


def job_under_way():
    job = Job(command(2, "deck.toml"), "log.txt")
    wait_until(lambda: "step " in job.text(), job)
    check(job.running() and len(job.ranks()) == 2, "a run of two ranks is under way")
    return job, job.ranks()


def all_gone(processes):
    deadline = time.monotonic() + SECONDS_TO_END
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(process) for process in processes)


clean()
write_proteins("proteins.fasta", 300, 10, 120)
prepare("proteins.fasta", "corpus.h5")
write_deck("deck.toml", data_validation=None, train_steps=5000, train_global_batch=64)

job, ranks = job_under_way()
check(guards(job.process.pid) == 1, "one guard is beside the ranks")
job.send(job.process.pid, signal.SIGKILL)
check(all_gone(ranks), f"without mpirun the ranks end within {SECONDS_TO_END} s")
deadline = time.monotonic() + SECONDS_TO_END
while guards(job.process.pid) and time.monotonic() < deadline:
    time.sleep(0.05)
check(guards(job.process.pid) == 0, "the guard ends with mpirun")

# A stopped mpirun is one that does nothing any more, as after the deadlock that a rank killed at its start can leave.
job, ranks = job_under_way()
job.send(job.process.pid, signal.SIGSTOP)
for rank in ranks:
    job.send(rank, signal.SIGKILL)
begin = time.monotonic()
code = job.wait(SECONDS_TO_END)
check(code == -signal.SIGKILL, f"an mpirun without ranks that does nothing is ended in {time.monotonic() - begin:.0f} s")
check("mpirun has not; it is killed" in job.text(), "its output says so")
if code is None:
    job.kill_all()

finish()
