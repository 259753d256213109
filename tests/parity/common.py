"""What the comparisons with Hugging Face have in common: proteins, runs of protalbert_bench, figures."""

import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile

# ProtAlbert's vocabulary as far as speed is concerned: 5 special pieces, 8 symbols, 20 amino acids and X.
VOCABULARY = 34
PAD, UNKNOWN, CLS, SEP, MASK = range(5)
LETTERS = {letter: 13 + i for i, letter in enumerate("LAGVESIKRDTPNQFYMHCWX")}
X = LETTERS["X"]


def read_proteins(path, count, longest, cut):
    """The first `count` proteins of a FASTA file with 1 .. `longest` residues, as lists of ids; with `cut`, longer ones
    are cut instead of left out. The same choice as protalbert_bench's."""
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    proteins, letters = [], None

    def add():
        if letters is None:
            return
        sequence = "".join(letters).upper().rstrip("*")
        if not sequence or (len(sequence) > longest and not cut):
            return
        proteins.append([LETTERS.get(letter, X) for letter in sequence[:longest]])

    with opened as lines:
        for line in lines:
            if line.startswith(">"):
                add()
                if len(proteins) == count:
                    return proteins
                letters = []
            elif letters is not None:
                letters.append(line.strip())
    add()
    return proteins[:count]


def run_bench(program, arguments, threads):
    """Figures of one run of protalbert_bench."""
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.json")
        command = [program, "--json", report] + [str(argument) for argument in arguments]
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OMP_PROC_BIND="false")
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"error: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        with open(report) as file:
            return json.load(file)


def default_threads():
    return int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))


def summary(values):
    """'median (smallest .. largest)'."""
    return f"{statistics.median(values):10.1f}  ({min(values):.1f} .. {max(values):.1f})"


def print_table(unit, ours, others):
    """Rates of both sides and their ratios of medians. `others`: {name: rates}."""
    print(f"\n{unit}, median of {len(ours)} alternating runs (smallest .. largest)")
    print(f"  {'protalbert':44s} {summary(ours)}")
    for name, rates in others.items():
        ratio = statistics.median(ours) / statistics.median(rates)
        print(f"  {name:44s} {summary(rates)}   protalbert is {ratio:.2f} times as fast")
