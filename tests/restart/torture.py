"""Kills training and embedding at random moments, also inside a save, and goes on each time with the same command; at
the end everything must be as if nothing had happened, to the bit. Prints the figures."""

import argparse
import os
import pathlib
import random
import shutil
import signal
import struct
import sys
import time

from runs import SECONDS_TO_END, Job, arrays, wait_until, without_times
from pretrain import build, check, clean, command, deck, finish, metrics, mpirun, prepare, run, write_deck, write_proteins

parser = argparse.ArgumentParser()
parser.add_argument("build")
parser.add_argument("--kills", type=int, default=44)
parser.add_argument("--seed", type=int, default=int(time.time()) % 100000)
options = parser.parse_args()
chance = random.Random(options.seed)

# A save of some 100 kB takes a third of a second, so that many kills find one under way.
SLOW = {"PROTALBERT_SLOW_WRITE": "300000"}
RUN = pathlib.Path("run")


class Figures:
    def __init__(self, what):
        self.what = what
        self.kills = self.inside_save = self.stops = self.resumes = self.rounds = self.mismatches = self.lost = 0
        self.most_lost = 0
        self.slowest_end = 0.0

    def print(self):
        lost = f"{self.lost} lost steps ({self.most_lost} at most at once), " if self.what == "training" else ""
        print(f"{self.what}: {self.kills} kills ({self.inside_save} of them inside a save), {self.stops} stops by "
              f"signals, {self.resumes} resumes, {self.rounds} runs, {self.mismatches} mismatches, {lost}slowest end "
              f"{self.slowest_end:.1f} s", flush=True)


def end_somehow(job, moment, parts, figures):
    """Waits for a moment, then ends the job in one of several ways. Whether it did."""
    if moment == "start":
        time.sleep(chance.uniform(0, 0.5))
    elif moment == "save":
        wait_until(lambda: any(pathlib.Path(".").glob(parts)), job)
        time.sleep(chance.uniform(0, 0.4))
    else:
        wait_until(lambda: "step " in job.text() or any(pathlib.Path(".").glob(parts)), job)
        time.sleep(chance.uniform(0, 0.8))
    ranks = job.ranks()
    if not job.running() or not ranks:
        return False
    inside = any(pathlib.Path(".").glob(parts))
    way = chance.choice(["one", "one", "all", "all", "term", "usr1"])
    begin = time.monotonic()
    if way == "one":
        hit = job.send(chance.choice(ranks), signal.SIGKILL)
    elif way == "all":
        hit = bool(job.kill_all())
    elif way == "term":
        hit = job.send(chance.choice(ranks), signal.SIGTERM)
    else:
        hit = job.send(job.process.pid, signal.SIGUSR1)
    code = job.wait(SECONDS_TO_END)
    if code is None:
        check(False, f"the job ends within {SECONDS_TO_END} s ({way} at {moment})\n{job.text()}")
        job.kill_all()
        return True
    if not hit:
        return False
    if way in ("one", "all"):
        figures.kills += code != 0
        figures.inside_save += code != 0 and inside
        figures.slowest_end = max(figures.slowest_end, time.monotonic() - begin)
    else:
        # A signal just after the last step comes too late to stop anything.
        figures.stops += code != 0
    if way == "one" and job.launched and code != 0:
        # mpirun's words; of a rank that had not reported to it yet it knows the exit code alone.
        words = "signal 9", "Killed", "a non-zero exit code. Per user-direction, the job has been aborted"
        if not any(word in job.text() for word in words):
            check(False, f"a message says that a rank was killed:\n{job.text()}")
    return True


def steps_done():
    try:
        return max((line["step"] + 1 for line in metrics(RUN)), default=0)
    except (OSError, ValueError):  # none yet, or a line under way
        return 0


def torture_training(kills):
    figures = Figures("training")
    write_proteins("proteins.fasta", 300, 10, 120)
    prepare("proteins.fasta", "corpus.h5", "--holdout", "0.1")
    common = dict(train_steps=140, train_warmup=20, run_validate_every=35, checkpoint_every=10, checkpoint_keep=2,
                  checkpoint_keep_every=40)
    write_deck("fixed.toml", **common)
    write_deck("free.toml", train_reproducible=True, **common)
    expected = {}
    for name in "fixed", "free":
        shutil.rmtree(RUN, ignore_errors=True)
        code, output = run(2, f"{name}.toml")
        check(code == 0, f"the uninterrupted run of {name}.toml ends well")
        if code != 0:
            print(output)
            finish()
        expected[name] = (arrays(RUN / "step_00000140.h5"), without_times(metrics(RUN)),
                          sorted(path.name for path in RUN.iterdir()))
    while figures.kills < kills:
        # Two ranks throughout; or reproducible, with another number of ranks each time.
        name = chance.choice(["fixed", "free"])
        shutil.rmtree(RUN, ignore_errors=True)
        figures.rounds += 1
        starts = 0
        while True:
            before = steps_done()
            ranks = 2 if name == "fixed" else chance.choice([1, 2, 3])
            job = Job(command(ranks, f"{name}.toml"), "log.txt", **SLOW)
            starts += 1
            ended = figures.kills < kills and end_somehow(
                job, chance.choice(["start", "save", "save", "step", "step"]), "run/step_*.part", figures)
            if chance.random() < 0.2 and RUN.exists():
                (RUN / "save").touch()
            if not ended:
                code = job.wait(240)
            text = job.text()
            if "continuing run/" in text:
                figures.resumes += 1
                lost = before - int(text.split(" after step ")[1].split()[0].rstrip("."))
                figures.lost += lost
                figures.most_lost = max(figures.most_lost, lost)
            if "nothing is left to do" in text or (not ended and code == 0):
                break
            if not ended and code not in (75, 0):
                check(False, f"exit code {code} of a run that nobody killed:\n{text}")
                finish()
        arrays_found, lines = arrays(RUN / "step_00000140.h5"), without_times(metrics(RUN))
        (RUN / "save").unlink(missing_ok=True)
        files = sorted(path.name for path in RUN.iterdir())
        kept = [file for file in files if file != "metrics.jsonl"]
        good = [arrays_found == expected[name][0], lines == expected[name][1],
                {"step_00000040.h5", "step_00000080.h5", "step_00000120.h5"} <= set(kept),
                not any(file.endswith(".part") for file in files)]
        figures.mismatches += not all(good)
        if not all(good):
            check(False, f"{name}.toml after {starts} starts: arrays, metrics, kept files, no remains: {good}, {files}")
    figures.print()
    check(figures.mismatches == 0, f"training: the same bits after {figures.kills} kills and {figures.stops} stops")
    # A checkpoint every 10 steps: what is lost is the way to the last one, and a save under way.
    check(figures.most_lost <= 20, f"at most {figures.most_lost} steps are lost by a kill")
    return figures


def batches_done(part):
    """Finished batches of an unfinished file, from the table at its end (src/embed/output.cpp); None without one."""
    try:
        data = pathlib.Path(part).read_bytes()
    except FileNotFoundError:
        return None
    if not data.endswith(b"protalbert part\0"):
        return None
    table, batches = struct.unpack_from("<QQ", data, len(data) - 88)
    entries = struct.unpack_from(f"<{2 * batches}Q", data, table)
    return sum(value != 0 for value in entries[::2])


def torture_embedding(kills):
    figures = Figures("embedding")
    write_proteins("bulk.fasta", 500, 20, 110, seed=2)

    def embed(ranks):
        return [*mpirun, str(ranks), str(build / "protalbert_embed"), "--checkpoint", "weights.h5", "bulk.fasta",
                "--output", "vectors.h5", "--batch-tokens", "400"]

    shutil.copy(RUN / "step_00000140.h5", "weights.h5")
    # HDF5 lays its tables out otherwise over MPI: a file is as one rank or as several make it, to the last byte.
    expected = []
    for ranks in 1, 2:
        check(Job(embed(ranks), "log.txt").wait(240) == 0, f"the uninterrupted embedding with {ranks} ranks ends well")
        expected.append(pathlib.Path("vectors.h5").read_bytes())
        vectors = arrays("vectors.h5")
        pathlib.Path("vectors.h5").unlink()
    slow = {"PROTALBERT_SLOW_WRITE": "250000"}
    while figures.kills < kills:
        for path in pathlib.Path(".").glob("vectors.h5*"):
            path.unlink()
        figures.rounds += 1
        while True:
            done = batches_done("vectors.h5.part")
            job = Job(embed(chance.choice([1, 2, 3])), "log.txt", **slow)
            ended = figures.kills < kills and end_somehow(job, chance.choice(["start", "save", "step", "step"]),
                                                          "vectors.h5.part", figures)
            code = job.process.returncode if ended else job.wait(240)
            if "continuing" in job.text():
                figures.resumes += 1
                there = int(job.text().split(".part: ")[1].split()[0].replace(",", ""))
                if there != done:
                    figures.mismatches += 1
                    check(False, f"of {done} finished batches {there} count")
            if pathlib.Path("vectors.h5").exists() and code == 0:
                break
            if not ended and code != 75:
                check(False, f"exit code {code} of an embedding that nobody killed:\n{job.text()}")
                finish()
        if arrays("vectors.h5") != vectors or pathlib.Path("vectors.h5").read_bytes() not in expected:
            figures.mismatches += 1
    figures.print()
    check(figures.mismatches == 0, f"embedding: the same file after {figures.kills} kills and {figures.stops} stops")
    return figures


clean()
print(f"seed {options.seed}", flush=True)
begin = time.monotonic()
deck["train"]["global_batch"] = 24
of_training = torture_training(round(0.65 * options.kills))
of_embedding = torture_embedding(options.kills - of_training.kills)
kills = of_training.kills + of_embedding.kills
check(kills >= options.kills, f"{kills} kills in {time.monotonic() - begin:.0f} s, seed {options.seed}")
finish()
