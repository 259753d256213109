#!/usr/bin/env python3
"""Draws the confusion matrices of a report of protalbert_probe: a panel for each kind of labels, a row for each label
with the shares of what it was predicted as."""

import argparse
import json
import sys

import matplotlib
import numpy

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(axes, kind, result):
    """result: one way to predict, of the report's `results`."""
    counts = numpy.array(result["confusion"], dtype=float)
    rows = counts.sum(axis=1, keepdims=True)
    shares = numpy.divide(counts, rows, out=numpy.zeros_like(counts), where=rows > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, label in enumerate(shares):
        for j, share in enumerate(label):
            if rows[i] > 0:
                axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize="small",
                          color="white" if share > 0.5 else "black")
    names = kind["classes"]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize="small")
    axes.set_yticks(range(len(names)), [f"{name} ({int(n)})" for name, n in zip(names, rows[:, 0])], fontsize="small")
    axes.set_xlabel("predicted as, % of the row")
    axes.set_ylabel("label (number)")
    axes.set_title(f"{kind['title']}, {result['name']}\n"
                   f"{kind['score']} {100 * result['accuracy']:.1f} % ± {100 * result['standard_error']:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", help="JSON file of protalbert_probe --report")
    parser.add_argument("--of", default="encoder", help="which result: encoder, 'one-hot residues' (default: %(default)s)")
    parser.add_argument("--output", default="confusion.png", help="PNG to write (default: %(default)s)")
    arguments = parser.parse_args()

    with open(arguments.report) as file:
        kinds = json.load(file)["kinds"]
    panels = []
    for kind in kinds.values():
        chosen = [result for result in kind["results"] if result["name"] == arguments.of]
        if not chosen:
            names = ", ".join(result["name"] for result in kind["results"])
            sys.exit(f"error: {arguments.report} has no result '{arguments.of}'; it has {names}")
        if chosen[0]["labels"] > 0:
            panels.append((kind, chosen[0]))
    if not panels:
        sys.exit(f"error: {arguments.report} has no labels to draw")
    sizes = [2.5 + 0.45 * len(kind["classes"]) for kind, _ in panels]
    figure, all_axes = plt.subplots(1, len(panels), figsize=(sum(sizes) + 1.5, max(sizes) + 1), squeeze=False,
                                    width_ratios=sizes)
    for axes, (kind, result) in zip(all_axes[0], panels):
        draw(axes, kind, result)
    figure.tight_layout()
    figure.savefig(arguments.output, dpi=150)
    print(f"{arguments.output}: {', '.join(kind['title'] for kind, _ in panels)}")


if __name__ == "__main__":
    main()
