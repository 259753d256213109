"""Some runs of jobscripts/ablations.sh, tiny and on random proteins: the report has their numbers, is made again from the
metrics alone, interrupted runs go on, and the measurements of a trained model agree with what training says."""

import json
import os
import pathlib
import statistics
import subprocess

from pretrain import build, check, clean, finish, write_proteins

source = pathlib.Path(__file__).resolve().parents[2]
# Two seeds of these, one of those.
TWICE, ONCE = "^(all|none)_E16$", "^(task_nsp|time_wide)$"
# Longer and shorter samples than proteins, seconds of training; the same steps for the runs of a given time.
TINY = ("--set train.steps=6 --set train.warmup=2 --set model.layers=2 --set model.hidden=32 --set model.intermediate=64 "
        "--set data.max_length=64 --set run.validate_every=3 --set run.validation_sequences=40")


def ablations(*options, more=""):
    environment = dict(os.environ, BUILD=str(build), PROTALBERT_OPTIONS=f"{TINY} {more}",
                       MPIRUN=os.environ.get("MPIRUN", "mpirun -n"))
    done = subprocess.run([source / "jobscripts/ablations.sh", "proteins.fasta", "--quick", "--output", "out", "--ranks", "2",
                           *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
    return done.returncode, done.stdout


def bench(name, *options):
    done = subprocess.run([build / "protalbert_bench", name, *map(str, options), "--json", "figures.json"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(done.stdout)
    return json.loads(pathlib.Path("figures.json").read_text()) if done.returncode == 0 else done.stdout


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def last_validation(folder):
    return [line for line in lines(folder) if "validation_mlm_loss" in line][-1]


def close(a, b):
    """Sums of float32 in another order."""
    return abs(a - b) <= 1e-5 * max(abs(b), 0.1)


clean()
write_proteins("proteins.fasta", 300, 10, 120)
out = pathlib.Path("out")

# Stopped early, and run again.
code, output = ablations("--only", "^all_E16$", "--seeds", "1", more="--set run.time_limit=1e-9")
check(code == 75 and not (out / "report.md").exists(), f"a run that its time limit stops ends with 75 ({code})")
check(len([line for line in lines(out / "all_E16/seed1") if "seconds" in line]) < 6, "it has not made all its steps")
for runs, seeds in (ONCE, "1"), (TWICE, "2"):
    code, output = ablations("--only", runs, "--seeds", seeds)
    check(code == 0, f"{runs} is trained, measured and reported")
    if code != 0:
        print(output)
folders = sorted(path.parent for path in out.glob("*/seed*/finished"))
check(len(folders) == 6, f"all runs are finished: {[str(folder) for folder in folders]}")
for folder in folders:
    steps = [line["step"] for line in lines(folder) if "seconds" in line]
    check(steps == list(range(6)), f"{folder}: every step once in the metrics")

# The report's numbers, from the metrics by other code.
report = (out / "report.md").read_text()
check("quick mode" in report, "the report says that its numbers are the quick mode's")
for sharing in "all", "none":
    losses = [last_validation(out / f"{sharing}_E16/seed{seed}")["validation_mlm_loss"] for seed in (1, 2)]
    mean, error = statistics.fmean(losses), abs(losses[0] - losses[1]) / 2  # stdev of two over sqrt(2)
    rows = [line for line in report.splitlines() if line.startswith(f"| {sharing} | 16 |")]
    check(len(rows) == 1 and f"{mean:.4f} ± {error:.4f}" in rows[0], f"{sharing}: {mean:.4f} ± {error:.4f} in {rows}")
pairs = [last_validation(out / f"all_E16/seed{seed}")["validation_mlm_loss"] -
         last_validation(out / f"none_E16/seed{seed}")["validation_mlm_loss"] for seed in (1, 2)]
mean, error = statistics.fmean(pairs), abs(pairs[0] - pairs[1]) / 2
noise = abs(mean) <= 12.706 * error  # Student's 97.5 % quantile with one degree of freedom
expected = f"{mean:+.4f} ± {error:.4f} nats" + (", within noise" if noise else "")
found = [line for line in report.splitlines() if expected in line]
word = "WITHIN NOISE" if noise else "HOLDS" if mean > 0 else "DOES NOT HOLD"
check(len(found) == 1 and f"| {word} |" in found[0], f"sharing everything: {word}, {expected}")
plots = sorted(path.name for path in out.glob("*.png"))
for plot in plots:
    check((out / plot).read_bytes().startswith(b"\x89PNG") and f"]({plot})" in report, f"{plot} is a plot of the report")
check({"embedding.png", "sharing_E16.png", "stability.png", "same_time.png"} <= set(plots), f"every plot is there: {plots}")

# What is measured of a trained model agrees with its training's last validation: the same samples for the same seed.
for name, task in ("all_E16", "sop"), ("task_nsp", "nsp"):
    folder = out / name / "seed1"
    options = ("--checkpoint", folder, "--corpus", out / "corpus.validation.h5", "--length", 64)
    figures, expected = bench("sentence", *options, "--sequences", 40, "--seed", 1), last_validation(folder)
    for key, theirs in (("mlm_loss", "validation_mlm_loss"), ("mlm_accuracy", "validation_mlm_accuracy"),
                        ("sentence_loss", "validation_sop_loss"), ("sentence_accuracy", "validation_sop_accuracy")):
        check(close(figures[task][key], expected[theirs]),
              f"{name}: {key} of {task} is {figures[task][key]}, training's {expected[theirs]}")
    check("sentence_accuracy" not in figures["none"], "there is no sentence task without one")
refused = bench("sentence", *options[:-1], 4096)
check("--length is 4096" in refused and "512 positions" in refused, "samples longer than the model are refused")

# Iterations beyond the trained depth exist for a shared layer alone.
options = ("--corpus", out / "corpus.validation.h5")
shared = bench("stability", "--checkpoint", out / "all_E16/seed1", *options)
check(shared["trained_iterations"] == 2 and len(shared["iterations"]) == 4, "a shared model is run to twice its depth")
check(bench("stability", "--checkpoint", out / "none_E16/seed1", *options)["iterations"][1]["iteration"] == 2 and
      "layers of its own" in bench("stability", "--checkpoint", out / "none_E16/seed1", *options, "--iterations", 3),
      "one that shares nothing only to its depth")
fasta = bench("stability", "--checkpoint", out / "all_E16/seed1", "--fasta", "proteins.fasta", "--iterations", 1)
check(len(fasta["iterations"]) == 1 and fasta["proteins"] == 200, "proteins of a FASTA file, and fewer iterations")

# Nothing is trained again, and the report needs neither checkpoints nor training.
before = {path: path.read_bytes() for path in out.glob("*/seed*/metrics.jsonl")}
code, output = ablations("--only", TWICE, "--seeds", "2")
check(code == 0 and "protalbert_pretrain" not in output and
      before == {path: path.read_bytes() for path in before}, "what is finished is left alone")
for path in list(out.glob("*/seed*/step_*.h5")) + list(out.glob("*.png")) + [out / "report.md", out / "corpus.h5"]:
    path.unlink()
subprocess.run([os.environ.get("PYTHON", os.sys.executable), source / "jobscripts/ablations_report.py", out, "--size", "quick"],
               check=True, stdout=subprocess.DEVNULL)
check((out / "report.md").read_text() == report, "the report made again is the same")
check(sorted(path.name for path in out.glob("*.png")) == plots, "with the same plots")
finish()
