#!/usr/bin/env python3
"""Draws the loss curves of one run or of phases that follow one another, from their metrics.jsonl."""

import argparse
import json
import sys

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def read_metrics(path):
    """The training lines and the validation lines of a metrics.jsonl."""
    training, validation = [], []
    with open(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                sys.exit(f"error: {path}, line {number} is not JSON: is it a metrics file, and complete?")
            (validation if "validation_mlm_loss" in entry else training).append(entry)
    if not training:
        sys.exit(f"error: {path} holds no training step")
    return training, validation


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metrics", nargs="+", help="metrics.jsonl of each phase, in order")
    parser.add_argument("--corpus", help="corpus whose composition entropy is drawn as a line")
    parser.add_argument("--output", default="loss.png", help="PNG to write (default: %(default)s)")
    arguments = parser.parse_args()

    figure, axes = plt.subplots(figsize=(8, 5))
    first = 0
    for phase, path in enumerate(arguments.metrics, 1):
        training, validation = read_metrics(path)
        name = f"phase {phase}, " if len(arguments.metrics) > 1 else ""
        color = f"C{phase - 1}"
        # A skipped step has no loss.
        steps = [entry for entry in training if entry["mlm_loss"] is not None]
        axes.plot([first + entry["step"] for entry in steps], [entry["mlm_loss"] for entry in steps], color=color,
                  linewidth=1, alpha=0.6, label=name + "training")
        steps = [entry for entry in validation if entry["validation_mlm_loss"] is not None]
        axes.plot([first + entry["step"] for entry in steps], [entry["validation_mlm_loss"] for entry in steps], "o-",
                  color=color, label=name + "validation")
        if phase > 1:
            axes.axvline(first, color="0.8", linewidth=1)
        first += max(entry["step"] for entry in training + validation)
    if arguments.corpus:
        with h5py.File(arguments.corpus, "r") as corpus:
            entropy = corpus.attrs["entropy"]
        axes.axhline(entropy, color="black", linestyle="--", linewidth=1,
                     label=f"knowing the composition alone ({entropy:.3f})")
    axes.set_xlabel("step")
    axes.set_ylabel("loss at masked residues (nats)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(arguments.output, dpi=150)


if __name__ == "__main__":
    main()
