"""Saves that fail: on a full disk, in a folder that is gone or closed. The run says so, leaves older checkpoints alone,
tries again at the next interval, and ends with exit code 1 after three failures in a row."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import time

from runs import Job, arrays, wait_until, without_times
from pretrain import check, command, finish, metrics, prepare, run, write_deck, write_proteins

STEPS = 50
SMALL = pathlib.Path("small")


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("step_*.h5")}


def fill(file):
    """Takes all the space that is left."""
    with open(file, "wb", buffering=0) as output:
        for size in 1 << 16, 1 << 12:
            try:
                while True:
                    output.write(bytes(size))
            except OSError:
                pass


def failures(job):
    return job.text().count(" is not saved, failure ")


def expect_recovery(what, ranks, folder, break_it, mend_it, reason, expected):
    """Breaks the folder after the first checkpoint, mends it after a failed save: the run ends well, with the same
    bits."""
    job = Job(command(ranks, "deck.toml", "--set", f"checkpoint.directory={folder}"), "log.txt")
    wait_until(lambda: f"saved {folder}/step_" in job.text(), job)
    break_it()
    wait_until(lambda: failures(job) > 0, job)
    mend_it()
    code = job.wait(120)
    text = job.text()
    check(code == 0 and failures(job) in (1, 2) and reason in text,
          f"{what}, {ranks} ranks: goes on after {failures(job)} failed saves (exit code {code})")
    if code != 0 or reason not in text:
        print(text)
        return
    check(arrays(folder / f"step_{STEPS:08}.h5") == expected[0], f"{what}, {ranks} ranks: the same bits at the end")
    check(without_times(metrics(folder)) == expected[1], f"{what}, {ranks} ranks: no line of metrics is lost")


def expect_end(what, ranks, folder, break_it, mend_it, reason, around=()):
    """Breaks the folder for good: three failures, exit code 1, and the checkpoints of before."""
    job = Job([*around, *command(ranks, "deck.toml", "--set", f"checkpoint.directory={folder}")], "log.txt")
    wait_until(lambda: f"saved {folder}/step_" in job.text(), job)
    break_it()
    code = job.wait(120)
    text = job.text()
    mend_it()
    check(code == 1 and failures(job) == 3 and reason in text and "error: 3 saves in a row have failed" in text,
          f"{what}, {ranks} ranks: ends with 1 after {failures(job)} failed saves (exit code {code})")
    if code != 1 or failures(job) != 3 or reason not in text:
        print(text)
    found = hashes(folder)
    check(bool(found) and not list(folder.glob("*.part")), f"{what}: {len(found)} checkpoints and no remains")
    code, text = run(ranks, "deck.toml", "--set", f"checkpoint.directory={folder}", "--set", "run.time_limit=0.001")
    check(code == 75 and "continuing" in text and "passed over" not in text, f"{what}: the older checkpoint is intact")


write_proteins("proteins.fasta", 600, 10, 120)
prepare("proteins.fasta", "corpus.h5")
# Saves half a second apart leave time to act between them.
write_deck("deck.toml", data_validation=None, train_steps=STEPS, train_global_batch=50)
begin = time.monotonic()
code, output = run(2, "deck.toml", "--set", "checkpoint.directory=measured")
check(code == 0, "an uninterrupted run ends well")
step_seconds = sum(line["seconds"] for line in metrics("measured")) / STEPS
batch = max(50, min(4000, int(50 * 0.05 / step_seconds)))
write_deck("deck.toml", data_validation=None, train_steps=STEPS, train_global_batch=batch, checkpoint_every=10)
print(f"{1000 * step_seconds:.1f} ms a step of 50 sequences: batches of {batch}", flush=True)

for ranks in 1, 2:
    code, output = run(ranks, "deck.toml", "--set", f"checkpoint.directory=whole{ranks}")
    check(code == 0, f"an uninterrupted run of {ranks} ranks ends well")
    expected = arrays(f"whole{ranks}/step_{STEPS:08}.h5"), without_times(metrics(f"whole{ranks}"))
    if os.path.ismount(SMALL):
        folder = SMALL / "run"
        filler = SMALL / "filler"
        expect_recovery("a disk full for a while", ranks, folder, lambda: fill(filler), filler.unlink, "no space",
                        expected)
        shutil.rmtree(folder)
        expect_end("a full disk", ranks, folder, lambda: fill(filler), filler.unlink, "no space")
        shutil.rmtree(folder)
    folder, away = pathlib.Path(f"run{ranks}"), pathlib.Path(f"away{ranks}")
    expect_recovery("a folder gone for a while", ranks, folder, lambda: folder.rename(away),
                    lambda: away.rename(folder), "there is no folder", expected)
    shutil.rmtree(folder)
    expect_end("a folder that is gone", ranks, folder, lambda: folder.rename(away), lambda: away.rename(folder),
               "there is no folder")
    shutil.rmtree(folder)

# Root may write anywhere, so it becomes nobody, in a folder that nobody owns.
closed = pathlib.Path("closed").resolve()
closed.mkdir(exist_ok=True)
around = []
if os.geteuid() == 0:
    around = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/tmp"]
    try:
        os.chown(closed, 65534, 65534)
        able = subprocess.run([*around, "test", "-x", command(1)[0]]).returncode == 0
    except OSError:
        able = False
else:
    able = True
if able:
    folder = closed / "run"
    for ranks in 1, 2:
        expect_end("a closed folder", ranks, folder, lambda: folder.chmod(0o555), lambda: folder.chmod(0o755),
                   "Permission denied", around)
        shutil.rmtree(folder)
else:
    print("skipped: a closed folder (nobody cannot be had here)")
finish()
