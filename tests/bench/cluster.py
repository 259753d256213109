"""The benchmarks under mpirun, their figure-of-merit lines, the simulation of the input side, and the plan's arithmetic."""

import json
import os
import pathlib
import subprocess
import sys

programs = pathlib.Path(sys.argv[1])
program = programs / "protalbert_bench"
mpirun = os.environ.get("MPIRUN", "mpirun -n").split()
decks = pathlib.Path(__file__).resolve().parents[2] / "input"
failures = []


def check(condition, message):
    print(("passed: " if condition else "FAILED: ") + message, flush=True)
    if not condition:
        failures.append(message)


def bench(ranks, *arguments):
    """What a run reports and its figure-of-merit line."""
    command = (mpirun + [str(ranks)] if ranks > 1 else []) + [program, *map(str, arguments), "--json", "report.json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    last = done.stdout.splitlines()[-1]
    check(done.returncode == 0 and last.startswith("figure-of-merit "), f"{arguments[0]} on {ranks} ranks ends in its figure")
    if failures:
        print(done.stdout)
        sys.exit(1)
    return json.load(open("report.json")), json.loads(last.removeprefix("figure-of-merit "))


def test_under_mpirun():
    report, figure = bench(2, "collectives", "--hidden", 128, "--repeats", 3)
    check(figure["ranks"] == 2 and figure["value"] > 0 and len(report["sums"]) == 6, "sums of the gradient's six ranges")
    # Two ranks meet each other alone: neither can be slower than both.
    check(figure["outliers"] == [], "two ranks have no outliers")
    _, figure = bench(2, "hdf5", "--megabytes", 2, "--repeats", 1, "--folder", ".")
    check(min(figure[key] for key in ("value", "hdf5_read", "plain_write", "plain_read")) > 0, "HDF5 beside plain files")
    check(sorted(path.name for path in pathlib.Path(".").iterdir()) == ["report.json"], "no file is left")
    _, figure = bench(2, "io", "--megabytes", 2, "--repeats", 1, "--folder", ".")
    check(figure["value"] > 0, "preparing a corpus")
    _, figure = bench(2, "train", "--hidden", 64, "--layers", 2, "--length", 64, "--steps", 2, "--batch", 6)
    check(figure["batch"] == 6 and figure["step_seconds"] > 0, "training")


def test_simulation():
    report, _ = bench(1, "simulate", "--deck", decks / "phase1.toml", "--ranks", 512, "--steps", 60)
    check(report["imbalance_worst"] < 0.01, f"512 ranks are within 1 %: {100 * report['imbalance_worst']:.2f} %")
    for speed in ("fast", "slow"):
        check(report[f"imbalance_{speed}_attention"] < 0.01, f"also where attention is {speed}")
    check(report["read_bytes_least"] >= 1 << 20, "every read is at least a mebibyte")
    # 12 bytes for each of 216 million sequences, shared by whole blocks.
    check(1 < report["index_bytes"] / (12 * 216e6 / 512) < 1.01, "the index is shared out evenly")
    long, _ = bench(1, "simulate", "--deck", decks / "phase2.toml", "--ranks", 512, "--steps", 20)
    spread = [100 * long[f"imbalance_{speed}_attention"] for speed in ("fast", "slow")]
    check(max(spread) < 1, f"and with pieces of 2048 tokens: {spread[0]:.2f} and {spread[1]:.2f} %")
    again, _ = bench(1, "simulate", "--deck", decks / "phase1.toml", "--ranks", 512, "--steps", 60)
    check(again["imbalance_mean"] == report["imbalance_mean"], "the same again")
    report, _ = bench(1, "simulate", "--deck", decks / "phase1.toml", "--ranks", 4096, "--steps", 5)
    check(report["imbalance_bound"] == 0 and report["imbalance_worst"] < 0.05,
          f"4096 ranks, 2.6 sequences each: {100 * report['imbalance_worst']:.2f} %")
    report, _ = bench(1, "simulate", "--deck", decks / "phase2.toml", "--ranks", 4096, "--steps", 5)
    check(report["imbalance_bound"] > 0.5 and abs(report["imbalance_mean"] - report["imbalance_bound"]) < 1e-9,
          "with pieces of 2048 tokens the longest alone sets the step")


def test_reproducible():
    """Micro-batches that are the same for any number of ranks: their number is what imbalance 512 ranks cannot avoid."""
    same = ("--deck", decks / "phase1.toml", "--set", "train.reproducible=true", "--steps", 2)
    simulated, _ = bench(1, "simulate", *same, "--ranks", 512)
    (planned,), _ = bench(1, "plan", *same, "--ranks", 512)
    usual = bench(1, "plan", "--deck", decks / "phase1.toml", "--steps", 2, "--ranks", 512)[0][0]
    check(abs(planned["imbalance_seconds"] / planned["compute_seconds"] - simulated["imbalance_mean"]) < 0.01,
          "plan and simulate agree")
    check(planned["imbalance_seconds"] > 20 * usual["imbalance_seconds"], "which is far from what each rank's own give")
    # 8 bytes more a parameter, and sums of twice the bytes.
    check(abs((planned["memory_bytes"] - usual["memory_bytes"]) / (8 * 224347328) - 1) < 0.01, "int64 sums take memory")


def test_bad_numbers():
    for option in ("--median", "--flops", "--link"):
        bad = subprocess.run([program, "plan", "--deck", decks / "phase1.toml", option, "nan"], stderr=subprocess.PIPE, text=True)
        check(bad.returncode == 2 and option in bad.stderr, f"{option} nan is refused")


def test_lengths_of_a_corpus():
    # Equal lengths share out without a rest; the log-normal ones of the same deck never do.
    pathlib.Path("equal.fasta").write_text("".join(f">{i}\n{'ACDEFGHIKLMNPQRSTVWY' * 3}\n" for i in range(100)))
    subprocess.run([programs / "protalbert_prepare", "equal.fasta", "--output", "equal.h5"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    same = ("--deck", decks / "phase1.toml", "--set", "data.short_fraction=0", "--set", "train.global_batch=1024", "--steps", 2)
    equal, _ = bench(1, "simulate", *same, "--ranks", 256, "--corpus", "equal.h5")
    drawn, _ = bench(1, "simulate", *same, "--ranks", 256)
    check(equal["imbalance_worst"] < 1e-12 < drawn["imbalance_mean"], "a corpus's own lengths are simulated")
    equal, _ = bench(1, "plan", *same, "--ranks", 256, "--corpus", "equal.h5")
    check(equal[0]["imbalance_seconds"] < 1e-12, "and planned with")


def test_plan():
    parts = ("compute", "imbalance", "reduction", "optimizer", "reading", "checkpoint")
    report, figure = bench(1, "plan", "--deck", decks / "phase1.toml", "--ranks", 1, 8, 512, "--steps", 1)
    for line in report:
        check(abs(sum(line[f"{part}_seconds"] for part in parts) - line["step_seconds"]) < 1e-9, "the parts add up")
        check(abs(line["hours"] - 150000 * line["step_seconds"] / 3600) < 1e-6, "150,000 steps make the hours")
    check(report[0]["reduction_seconds"] == 0 and figure["planned_ranks"] == 512, "one rank sums nothing")
    # On a link that hides the other sums, attention's output weight, bias and layer norm are left, 4096 x (4096 + 3).
    report, _ = bench(1, "plan", "--deck", decks / "phase1.toml", "--ranks", 8, "--steps", 1, "--link", 450e9,
                      "--latency", 1e-9)
    check(abs(report[0]["reduction_seconds"] / (2 * 7 / 8 * 4 * 4096 * 4099 / 450e9) - 1) < 0.01,
          "a fast link hides all sums but the last product's")
    bad = subprocess.run([program, "plan", "--deck", "missing.toml"], stderr=subprocess.PIPE, text=True)
    check(bad.returncode == 2 and "missing.toml" in bad.stderr, "a missing deck is bad input")


for path in pathlib.Path(".").iterdir():
    path.unlink()
test_under_mpirun()
test_simulation()
test_reproducible()
test_lengths_of_a_corpus()
test_plan()
test_bad_numbers()
sys.exit(1 if failures else 0)
