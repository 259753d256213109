"""What the script tests of protalbert_pretrain share: a corpus of random proteins, a tiny deck, and running ranks."""

import json
import os
import pathlib
import random
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from own_folder import empty_own_folder

build = pathlib.Path(sys.argv[1])
mpirun = os.environ.get("MPIRUN", "mpirun -n").split()
pretrain = str(build / "protalbert_pretrain")
failures = []

# A tiny model; steps take milliseconds.
deck = {
    "model": dict(layers=2, hidden=16, intermediate=32, heads=2, embedding=8, positions=128),
    "data": dict(corpus="corpus.h5", validation="corpus.validation.h5", max_length=64),
    "train": dict(global_batch=13, steps=6, warmup=2, learning_rate=0.01, batch_tokens=300),
    "checkpoint": dict(directory="run", every=1000),
}


def check(condition, message):
    print(("passed: " if condition else "FAILED: ") + message, flush=True)
    if not condition:
        failures.append(message)


def finish():
    sys.exit(1 if failures else 0)


def clean():
    """Empties the working folder, which is the test's own."""
    empty_own_folder()


def write_proteins(file, count, shortest, longest, seed=1):
    random.seed(seed)
    with open(file, "w") as output:
        for number in range(count):
            residues = random.choices("LAGVESIKRDTPNQFYMHCW", k=random.randint(shortest, longest))
            output.write(f">protein{number}\n{''.join(residues)}\n")


def prepare(fasta, corpus, *options):
    subprocess.run([build / "protalbert_prepare", fasta, "--output", corpus, *options], check=True,
                   stdout=subprocess.DEVNULL)


def write_deck(file, **changes):
    """Writes the deck with `changes` as table_key=value ("train_steps"); None leaves a key out."""
    tables = {name: dict(keys) for name, keys in deck.items()}
    for name, value in changes.items():
        table, key = name.split("_", 1)
        tables.setdefault(table, {})[key] = value
    with open(file, "w") as output:
        for name, keys in tables.items():
            output.write(f"[{name}]\n")
            for key, value in keys.items():
                if value is not None:
                    output.write(f"{key} = {json.dumps(value)}\n")


def command(ranks, *arguments):
    return (mpirun + [str(ranks)] if ranks > 1 else []) + [pretrain, *map(str, arguments)]


def run(ranks, *arguments, seconds=240, **environment):
    """Exit code and output, standard error included."""
    done = subprocess.run(command(ranks, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=seconds, env={**os.environ, **environment})
    return done.returncode, done.stdout


def children(process):
    """Of all its threads: Open MPI's mpirun starts 32 ranks and more from several."""
    found = []
    for file in pathlib.Path("/proc").glob(f"{process}/task/*/children"):
        try:
            found += map(int, file.read_text().split())
        except OSError:  # the thread has ended
            pass
    return sorted(found)


def metrics(folder="run"):
    with open(pathlib.Path(folder) / "metrics.jsonl") as lines:
        return [json.loads(line) for line in lines]
