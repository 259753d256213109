#!/usr/bin/env python3
"""What the demo did, in plain words: demo_summary.py FOLDER."""

import json
import math
import os
import sys

import h5py


def last_validation(path):
    """The last validation of a metrics.jsonl."""
    with open(path) as lines:
        entries = [json.loads(line) for line in lines]
    return [entry for entry in entries if "validation_mlm_loss" in entry][-1]


def size(path):
    """Bytes of a file, or of the files in a folder, for people."""
    if not os.path.exists(path):
        return "none"
    if os.path.isdir(path):
        number = sum(entry.stat().st_size for entry in os.scandir(path))
    else:
        number = os.path.getsize(path)
    return f"{number / 1e6:,.1f} MB"


def parameters(folder):
    """Number of parameters of the newest checkpoint."""
    newest = max(name for name in os.listdir(f"{folder}/phase2") if name.startswith("step_") and name.endswith(".h5"))
    total = 0
    with h5py.File(f"{folder}/phase2/{newest}", "r") as file:
        for tensor in file["parameters"].values():
            total += tensor.size
    return total


def main():
    folder = sys.argv[1]
    shown = os.path.relpath(folder)
    if shown.startswith(".."):
        shown = folder
    with h5py.File(f"{folder}/corpus.h5", "r") as file:
        training = file.attrs["sequences"], file.attrs["residues"]
        entropy = file.attrs["entropy"]
    with h5py.File(f"{folder}/corpus.validation.h5", "r") as file:
        validation = file.attrs["sequences"]
    with h5py.File(f"{folder}/embeddings.h5", "r") as file:
        proteins = len(file["lengths"])
        embedded = int((file["status"][:] == 0).sum())
        width = file["mean"].shape[1]
        residues = file["residues"].shape[0]
        example = file["ids"][0].decode()
    before, after = (last_validation(f"{folder}/{phase}/metrics.jsonl") for phase in ("phase1", "phase2"))
    loss = after["validation_mlm_loss"]

    print(f"""
WHAT WAS DONE
  1. A corpus was made of {training[0]:,} proteins ({training[1]:,} residues). {validation:,} more were kept aside:
     the model never learns from them, they only test it.
  2. A small ALBERT language model was trained on the corpus in two phases, the second with longer pieces.
     It reads proteins with 15 % of their residues hidden and learns to guess those.
  3. The trained model turned {embedded:,} proteins into {residues:,} vectors, one for each residue, {width} numbers each,
     and one mean vector a protein.""")
    if embedded < proteins:
        print(f"     {proteins - embedded:,} of {proteins:,} proteins could not be embedded, most often because they are longer than this\n"
              "     small model can read; /status in the file says which.")

    print(f"""
WHAT IT LEARNT
  Loss at hidden residues of the proteins kept aside, in nats (lower is better):
    {math.log(20):.3f}  guessing among 20 amino acids blindly
    {entropy:.3f}  knowing how common each amino acid is, and nothing else
    {before['validation_mlm_loss']:.3f}  the model after phase 1
    {loss:.3f}  the model after phase 2""")
    if loss < entropy:
        print(f"""  The model is {entropy - loss:.3f} nats better than composition alone: it uses the residues around a gap. It guesses
  {100 * after['validation_mlm_accuracy']:.1f} % of the hidden residues exactly.
  It has {parameters(folder) / 1e6:.1f} million parameters where ProtAlbert has 224 million.""")
    else:
        print("  The model does not beat composition yet: there were too few proteins or too few steps to learn from.")

    print(f"""
WHERE IT IS
  {shown}/embeddings.h5      {size(f'{folder}/embeddings.h5'):>10}  the embeddings
  {shown}/loss.png           {size(f'{folder}/loss.png'):>10}  the loss curves
  {shown}/map.png            {size(f'{folder}/map.png'):>10}  a map of the proteins by their mean vectors
  {shown}/phase1, phase2     {size(f'{folder}/phase2'):>10}  each: checkpoints of the model, metrics.jsonl
  {shown}/corpus*.h5         {size(f'{folder}/corpus.h5'):>10}  the corpus

HOW TO OPEN THE EMBEDDINGS (python3 with h5py)
  import h5py
  file = h5py.File("{shown}/embeddings.h5")
  first = file["residues"][file["offsets"][0]:file["offsets"][1]]  # {example}: [residues, {width}]
""")


if __name__ == "__main__":
    main()
