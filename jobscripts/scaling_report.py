#!/usr/bin/env python3
"""A table with efficiencies and a plot of the runs of scaling.slurm, from the figure-of-merit line that ends each."""

import argparse
import json
import pathlib
import sys


def figures(folder):
    """The figure-of-merit lines of NAME.RANKS.log, by name, in the order of ranks."""
    found = {}
    for path in folder.glob("*.log"):
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.startswith("figure-of-merit ")]
        if lines:
            found.setdefault(path.stem.split(".")[0], []).append(json.loads(lines[-1].removeprefix("figure-of-merit ")))
    for runs in found.values():
        runs.sort(key=lambda run: run["ranks"])
    return found


def rows(found):
    """One row a training run. Efficiency: rate a rank over that of the smallest run of its kind."""
    for kind in ("strong", "weak"):
        runs = found.get(kind, [])
        for run in runs:
            first = runs[0]
            yield {"kind": kind, "ranks": run["ranks"], "batch": run["batch"], "tokens/s": run["value"],
                   "speed-up": run["value"] / first["value"],
                   "efficiency": run["value"] / run["ranks"] / (first["value"] / first["ranks"]),
                   "step s": run["step_seconds"], "compute s": run["model_seconds"],
                   "reduction s": run["reduction_seconds"], "optimizer s": run["optimizer_seconds"]}


def cell(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(lines, found):
    columns = list(lines[0])
    text = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    text += ["| " + " | ".join(cell(line[column]) for column in columns) + " |" for line in lines]
    text.append("\nCompute, reduction and optimizer are medians of rank 0; the step is the slowest rank's.")
    for name in ("collectives", "hdf5"):
        for run in found.get(name, []):
            text.append(f"\n{name} on {run['ranks']} ranks: {run['value'] / 1e9:.3g} GB/s ({run['unit']})" +
                        (f", {run['outliers']} outliers" if "outliers" in run else ""))
    return "\n".join(text) + "\n"


def plot(lines, file):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, (rates, efficiencies) = pyplot.subplots(1, 2, figsize=(9, 4))
    for kind in ("strong", "weak"):
        chosen = [line for line in lines if line["kind"] == kind]
        if not chosen:
            continue
        ranks = [line["ranks"] for line in chosen]
        drawn, = rates.loglog(ranks, [line["tokens/s"] for line in chosen], "o-", label=kind)
        rates.loglog(ranks, [chosen[0]["tokens/s"] * n / ranks[0] for n in ranks], ":", color=drawn.get_color())
        efficiencies.semilogx(ranks, [line["efficiency"] for line in chosen], "o-", label=kind)
    rates.set(xlabel="ranks", ylabel="real tokens/s", title="dotted: perfect scaling")
    efficiencies.set(xlabel="ranks", ylabel="efficiency", ylim=(0, 1.1))
    efficiencies.legend()
    ticks = sorted({line["ranks"] for line in lines})
    for axes in (rates, efficiencies):
        axes.minorticks_off()
        axes.set_xticks(ticks, [str(ranks) for ranks in ticks])
    figure.tight_layout()
    figure.savefig(file, dpi=120)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=pathlib.Path, help="scaling.JOB; report.md and scaling.png are written into it")
folder = parser.parse_args().folder
found = figures(folder)
lines = list(rows(found))
if not lines:
    print(f"error: {folder} has no strong.N.log or weak.N.log that ends in a figure-of-merit line; the runs failed, or it "
          f"is another folder", file=sys.stderr)
    sys.exit(2)
text = table(lines, found)
(folder / "report.md").write_text(text)
print(text)
try:
    plot(lines, folder / "scaling.png")
    print(f"plot: {folder / 'scaling.png'}")
except ImportError:
    print("no plot: Python has no matplotlib (Debian: python3-matplotlib)")
