#!/usr/bin/env python3
"""A table with efficiencies and a plot of the runs of scaling.slurm, from the figure-of-merit line that ends each."""

import argparse
import json
import pathlib
import sys


def figures(folder):
    """The figure-of-merit lines of NAME.RANKS.log, by name, in the order of ranks; a run that was cut off has none."""
    found = {}
    for path in sorted(folder.glob("*.log")):
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.startswith("figure-of-merit ")]
        if not lines:
            continue
        try:
            figure = json.loads(lines[-1].removeprefix("figure-of-merit "))
            if not isinstance(figure["value"], (float, int)):
                raise ValueError(f"its value is {figure['value']}")
        except (ValueError, KeyError) as problem:
            print(f"warning: {path} is left out: its figure-of-merit line is damaged ({problem})", file=sys.stderr)
            continue
        found.setdefault(path.stem.split(".")[0], []).append(figure)
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


def table(lines):
    columns = list(lines[0])
    text = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    text += ["| " + " | ".join(cell(line[column]) for column in columns) + " |" for line in lines]
    return "\n".join(text) + "\n"


def training(lines):
    return table(lines) + "\nCompute, reduction and optimizer are medians of rank 0; the step is the slowest rank's.\n"


def network(runs):
    """One row a number of ranks: where it bends, the network limits."""
    text = "\n" + table([{"ranks": run["ranks"], "sum of the gradient, GB/s a rank": run["value"] / 1e9,
                          "ms": 1e3 * run["gradient_seconds"], "sum of one number, us": 1e6 * run["latency_seconds"],
                          "exchange of residues, ms": 1e3 * run["exchange_seconds"], "by": run["reduction"]}
                         for run in runs])
    for run in runs:
        for slow in run["outliers"]:
            text += (f"\noutlier among {run['ranks']} ranks: rank {slow['rank']} on {slow['machine']}, {slow['factor']:.2f} "
                     f"times as long as usual {slow['where']}\n")
    return text


def disk(run):
    rate = {"HDF5": (run["value"], run["hdf5_read"]), "plain files": (run["plain_write"], run["plain_read"])}
    shares = [rate["HDF5"][i] / rate["plain files"][i] for i in (0, 1)]
    return (f"\n{run['ranks']} ranks together, GB/s:\n\n" +
            table([{"file": file, "written": written / 1e9, "read": read / 1e9} for file, (written, read) in rate.items()]) +
            f"\nOne shared HDF5 file gives {shares[0]:.0%} of a plain file a rank in writing, {shares[1]:.0%} in reading.\n")


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
if not found:
    print(f"error: {folder} has no NAME.RANKS.log that ends in a figure-of-merit line; the runs failed, or it is another "
          f"folder", file=sys.stderr)
    sys.exit(2)
text = training(lines) if lines else "No training run has ended.\n"
text += network(found["collectives"]) if "collectives" in found else ""
text += "".join(disk(run) for run in found.get("hdf5", []))
(folder / "report.md").write_text(text)
print(text)
if not lines:
    sys.exit(0)
try:
    plot(lines, folder / "scaling.png")
    print(f"plot: {folder / 'scaling.png'}")
except ImportError:
    print("no plot: Python has no matplotlib (Debian: python3-matplotlib)")
