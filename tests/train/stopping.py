"""A run that a signal stops saves its state and ends with 75; called again it goes on as if nothing had happened."""

import pathlib
import signal
import subprocess
import time

from pretrain import check, children, clean, command, finish, metrics, prepare, run, write_deck, write_proteins

STEPS = 60


def start_and_signal(ranks, number, to_one_rank):
    """Starts the run, sends the signal after a few steps, and returns exit code and output."""
    process = subprocess.Popen(command(ranks, "deck.toml"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step ") and sum(line.startswith("step ") for line in lines) == 3:
            target = children(process.pid)[-1] if to_one_rank and ranks > 1 else process.pid
            subprocess.run(["kill", f"-{number}", str(target)], check=True)
    return process.wait(), "".join(lines)


def losses(folder):
    return [(line["step"], line["loss"]) for line in metrics(folder)]


clean()
write_proteins("proteins.fasta", 300, 10, 120)
prepare("proteins.fasta", "corpus.h5")
write_deck("deck.toml", data_validation=None, train_steps=STEPS, train_global_batch=64)

code, output = run(2, "deck.toml", "--set", "checkpoint.directory=whole")
check(code == 0, "an uninterrupted run ends well")

code, output = start_and_signal(2, signal.SIGTERM, to_one_rank=True)
check(code == 75, f"SIGTERM to one rank of two gives 75 (it gave {code})")
check("saved run/step_" in output and "stopped by a signal" in output, "it says what was saved and why it stopped")
first = len(metrics("run"))
check(first < STEPS, f"it stopped early, after {first} of {STEPS} steps")

code, output = start_and_signal(2, signal.SIGUSR1, to_one_rank=False)  # mpirun passes it on to all ranks
check(code == 75, f"SIGUSR1 to mpirun gives 75 (it gave {code})")
check(f"after step {first}" in output, "it went on from where it was stopped")

code, output = run(2, "deck.toml")
check(code == 0, "the third call finishes the run")
check(losses("run") == losses("whole"), "every step is in the metrics once, with the losses of the uninterrupted run")

begin = time.monotonic()
code, output = run(2, "deck.toml")
check(code == 0 and "nothing is left to do" in output, "a finished run called again says so")
check(time.monotonic() - begin < 30, "and ends within seconds")

code, output = run(1, "deck.toml", "--resume", "never", "--set", "train.steps=3")
check(code == 0, "--resume never starts afresh")
aside = pathlib.Path("run/set_aside_1")
check((aside / f"step_{STEPS:08}.h5").exists() and (aside / "metrics.jsonl").exists(), "the run before is set aside")
check([step for step, _ in losses("run")] == [0, 1, 2], "the metrics are the new run's")
finish()
