#!/usr/bin/env python3
"""Compares protalbert_bench plan with measured steps on this machine: rates from one middle-sized model and the network,
then predictions for models and batches of other sizes. Exits with 1 where one is off by more than 15 %."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

# The rates come from the first; the others are predicted. Hidden size, iterations, sequences a step.
REFERENCE = (384, 4, 12)
MODELS = [(256, 8, 12), (256, 4, 24), (384, 4, 24), (512, 4, 8), (768, 2, 8)]
LIMIT = 0.15

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--bench", required=True, help="the program protalbert_bench")
parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
parser.add_argument("--steps", type=int, default=3, help="timed steps of each run")
parser.add_argument("--repeats", type=int, default=1, help="rounds of all runs; medians count")
options = parser.parse_args()
mpirun = os.environ.get("MPIRUN", "mpirun -n").split()


def bench(ranks, *arguments):
    """The figure-of-merit line of a run."""
    command = (mpirun + [str(ranks)] if ranks > 1 else []) + [options.bench, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"error: this command failed: {' '.join(command)}")
    return json.loads(done.stdout.splitlines()[-1].removeprefix("figure-of-merit "))


def train(ranks, model):
    hidden, layers, batch = model
    return bench(ranks, "train", "--hidden", hidden, "--layers", layers, "--batch", batch, "--short-fraction", 0.1,
                 "--steps", options.steps)


def predict(ranks, model, rates, deck):
    hidden, layers, batch = model
    keys = {"model.hidden": hidden, "model.intermediate": 4 * hidden, "model.heads": hidden // 64,
            "model.layers": layers, "train.global_batch": batch}
    # The random proteins of protalbert_bench have a median of 280 residues.
    return bench(1, "plan", "--deck", deck, "--ranks", ranks, "--median", 280, "--steps", 20,
                 *(word for key, value in keys.items() for word in ("--set", f"{key}={value}")),
                 *(word for key, value in rates.items() for word in (f"--{key}", value)))


with tempfile.NamedTemporaryFile("w", suffix=".toml") as deck:
    deck.write('[model]\npreset = "prot_albert"\n[data]\ncorpus = "none"\nmax_length = 512\n'
               '[train]\nsteps = 1\nbatch_tokens = 8192\n[checkpoint]\nevery = 0\n')
    deck.flush()
    measured = {(ranks, model): [] for ranks in options.ranks for model in [REFERENCE, *MODELS]}
    for _ in range(options.repeats):
        for ranks, model in measured:
            measured[ranks, model].append(train(ranks, model))
    worst = 0
    print("| ranks | hidden | iterations | sequences | measured ms | predicted ms | off by |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for ranks in options.ranks:
        middle = lambda model, key: statistics.median(run[key] for run in measured[ranks, model])
        rates = {"flops": middle(REFERENCE, "model_flops_per_second") * middle(REFERENCE, "step_seconds")
                 / middle(REFERENCE, "model_seconds") / ranks,
                 "memory": 44 * middle(REFERENCE, "parameters") / middle(REFERENCE, "optimizer_seconds")}
        if ranks > 1:
            network = bench(ranks, "collectives", "--hidden", REFERENCE[0])
            rates |= {"link": network["value"], "latency": network["latency_seconds"]}
        for model in MODELS:
            # A step's lengths are drawn, so rates of tokens are compared, not seconds.
            prediction = predict(ranks, model, rates, deck.name)
            run = measured[ranks, model]
            seconds = statistics.median(each["step_seconds"] for each in run)
            tokens = run[0]["tokens_per_step"]
            predicted = tokens / prediction["value"]
            worst = max(worst, abs(predicted / seconds - 1))
            print(f"| {ranks} | {model[0]} | {model[1]} | {model[2]} | {1e3 * seconds:.0f} | {1e3 * predicted:.0f} | "
                  f"{100 * (predicted / seconds - 1):+.1f} % |", flush=True)
        print("rates of a rank, " + ", ".join(f"{key} {value:.3g}" for key, value in rates.items()), flush=True)
print(f"at most {100 * worst:.1f} % off")
sys.exit(0 if worst <= LIMIT else 1)
