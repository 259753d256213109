"""ProtAlbert's full size with random weights: time and peak memory of reading it, and agreement with transformers.

A folder is written twice, as model.safetensors and as pytorch_model.bin in the layout of the published file (the older
one of torch.save, dense kernels transposed), 0.9 GB each. transformers computes in double precision (4 GB).

    tests/parity/huggingface.sh tests/hugging_face/measure_full_size.py --build build --place /tmp/full_size
"""

import argparse
import os
import subprocess
import sys
import time

import h5py
import torch
import transformers
from transformers import AlbertConfig, AlbertForPreTraining

import random_models
from compare_transformers import deviation, expected_ids, hidden_states, make_proteins
from make_folders import PIECES

# As for the small models.
TOLERANCE = 2e-5


def make_folders(place, activation):
    """Writes both; returns the model. The published sizes and the published config's silence about the rest."""
    config = AlbertConfig(
        hidden_size=4096, num_attention_heads=64, intermediate_size=16384, embedding_size=128, num_hidden_layers=12,
        vocab_size=34, max_position_embeddings=40000, hidden_act=activation, hidden_dropout_prob=0,
        attention_probs_dropout_prob=0, attn_implementation="eager")
    torch.manual_seed(1)
    model = AlbertForPreTraining(config).eval()
    for form, save in (("safetensors", random_models.save_safetensors), ("legacy", random_models.save_legacy)):
        folder = os.path.join(place, form)
        random_models.save_folder(model, folder, torch.float32, save)
        with open(os.path.join(folder, "vocab.txt"), "w") as file:
            file.writelines(piece + "\n" for piece in PIECES)
    return model


def measure(build, program, *arguments):
    """Seconds and peak bytes of a run, which must succeed."""
    command = [os.path.join(build, "protalbert_" + program), *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    # Not getrusage's figure: a child's begins with what its parent has, which is transformers' model.
    peak = 0
    while process.poll() is None:
        with open(f"/proc/{process.pid}/status") as status:
            peak = max([peak] + [int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM")])
        time.sleep(0.005)
    if process.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed")
    return time.perf_counter() - start, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="the folder of the programs")
    parser.add_argument("--place", required=True, help="folder for the files, 5 GB, which stay")
    parser.add_argument("--activation", default="gelu", help="gelu (as published) or gelu_new")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    options.build = os.path.abspath(options.build)
    os.makedirs(options.place, exist_ok=True)
    model = make_folders(options.place, options.activation)
    os.chdir(options.place)
    size = os.path.getsize("safetensors/model.safetensors")
    print(f"weights: {size / 1e9:.3f} GB; reading includes start-up")

    def report(what, *arguments):
        seconds, peak = measure(options.build, *arguments)
        print(f"  {what:58s} {seconds:6.2f} s, peak {peak / 1e9:.2f} GB = {peak / size:.2f} x weights", flush=True)

    proteins = make_proteins("proteins.fasta")[:4]
    with open("proteins.fasta", "w") as file:
        file.writelines(f">p{number}\n{protein}\n" for number, protein in enumerate(proteins))
    with open("nobody.fasta", "w") as file:
        file.write(">empty\n")
    for old in ("nobody_safetensors", "nobody_legacy", "nobody_full.h5", "safetensors_vectors.h5", "legacy_vectors.h5"):
        if os.path.exists(old):
            os.remove(old)
    embed = ("--pool", "none", "--overwrite")
    report("convert safetensors -> checkpoint", "convert", "safetensors", "full.h5", "--overwrite")
    report("convert old pytorch_model.bin -> checkpoint", "convert", "legacy", "legacy.h5", "--overwrite")
    report("convert checkpoint -> folder", "convert", "full.h5", "out", "--overwrite")
    for form in ("safetensors", "legacy", "full.h5"):
        report(f"embed, loading alone, {form}", "embed", "--checkpoint", form, "nobody.fasta", "--output",
               f"nobody_{form}", *embed)
    for form in ("safetensors", "legacy"):
        report(f"embed {sum(map(len, proteins))} residues, {form}", "embed", "--checkpoint", form, "proteins.fasta", "--output",
               form + "_vectors.h5", *embed)
    with h5py.File("full.h5") as one, h5py.File("legacy.h5") as two:
        def check(name, item):
            if isinstance(item, h5py.Dataset) and not (item[()] == two["parameters/" + name][()]).all():
                sys.exit(f"FAILED: {name} differs between the layouts")
        one["parameters"].visititems(check)
    theirs = hidden_states(model.double().albert, [expected_ids(protein) for protein in proteins])
    for form in ("safetensors", "legacy"):
        with h5py.File(form + "_vectors.h5") as file:
            worst = deviation(torch.tensor(file["residues"][()]), theirs)
        print(f"  {form}: deviates by {worst:.2e} of the largest value")
        if not worst <= TOLERANCE:
            sys.exit(f"FAILED: more than {TOLERANCE}")


if __name__ == "__main__":
    main()
