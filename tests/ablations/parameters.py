"""protalbert_bench parameters against formulas of its own, ProtAlbert's published count, and the numbers that the ALBERT
paper prints; a deck's memory and reduction against its tensors."""

import json
import pathlib
import subprocess
import sys

build = pathlib.Path(sys.argv[1])
source = pathlib.Path(__file__).resolve().parents[2]
failures = []


def check(condition, message):
    print(("passed: " if condition else "FAILED: ") + message, flush=True)
    if not condition:
        failures.append(message)


def figures(*options):
    subprocess.run([build / "protalbert_bench", "parameters", *options, "--json", "counts.json"], check=True,
                   stdout=subprocess.DEVNULL)
    with open("counts.json") as file:
        return json.load(file)


def count(layers, H, E, sharing, V=30000, positions=512):
    """Embeddings, layers and pooler, by hand: two segments, F = 4 H, a projection unless E = H."""
    embeddings = (V + positions + 2) * E + 2 * E
    projection = E * H + H if E != H else 0
    attention = 4 * (H * H + H) + 2 * H
    feed_forward = H * 4 * H + 4 * H + 4 * H * H + H + 2 * H
    return (embeddings + projection + attention * (1 if sharing in ("all", "attention") else layers)
            + feed_forward * (1 if sharing in ("all", "ffn") else layers) + H * H + H)


SHAPES = {"BERT base": (12, 768), "BERT large": (24, 1024), "ALBERT base": (12, 768), "ALBERT large": (24, 1024),
          "ALBERT xlarge": (24, 2048), "ALBERT xxlarge": (12, 4096)}

counts = figures()
check(len(counts["paper"]) == 6 + 8 + 8, "all rows of tables 1, 3 and 4")
for row in counts["paper"]:
    layers, H = SHAPES.get(row["model"], (12, 768))
    name = f"table {row['table']}, {row['model']}, E {row['embedding']}"
    expected = count(layers, H, row["embedding"], row["sharing"])
    check(row["counted"] == expected, f"{name}: {row['counted']} is {expected}")
    # The paper rounds to millions or cuts; its xlarge (60) and xxlarge (235, in the text 233) have more than the code.
    allowed = {"ALBERT xlarge": 1.5, "ALBERT xxlarge": 12.5}.get(row["model"], 1.1)
    printed = row["printed_millions"]
    check(abs(row["counted"] / 1e6 - printed) <= allowed, f"{name}: {row['counted'] / 1e6:.2f} beside the printed {printed}")

protein = counts["prot_albert"]
check(protein["encoder"] + protein["pooler"] + protein["heads"] == 224347300, "ProtAlbert's 224,347,300 parameters")
check(sum(tensor["size"] for tensor in protein["tensors"]) == 224347300, "its tensors add up to them")
sizes = {tensor["name"]: tensor["shape"] for tensor in protein["tensors"]}
check(sizes.get("albert.embeddings.position_embeddings.weight") == [40000, 128], "its position table is [40000, 128]")

deck = figures("--deck", str(source / "input/ablations/small.toml"), "--set", "model.sharing=none")
elements = sum(tensor["size"] for tensor in deck["tensors"])
check(elements == count(4, 128, 32, "none", 34) + deck["heads"], "a deck's tensors, with --set")
# Every tensor may be followed by at most 15 elements of padding, to begin on a cache line.
for key, arrays in ("reduction_bytes", 1), ("parameter_bytes", 1), ("optimizer_bytes", 3):
    least = 4 * arrays * elements
    check(least <= deck[key] <= least + 4 * arrays * 15 * len(deck["tensors"]), f"{key} is {arrays} arrays of its elements")
failed = subprocess.run([build / "protalbert_bench", "parameters", "--set", "model.layers=2"], capture_output=True, text=True)
check(failed.returncode == 2 and "--deck" in failed.stderr, "--set without --deck is refused")
sys.exit(1 if failures else 0)
