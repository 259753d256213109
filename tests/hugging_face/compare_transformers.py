"""Random models of many shapes through protalbert and transformers, in both directions.

In: transformers (or PyTorch) writes a folder, protalbert_embed reads it. Out: protalbert_convert writes one from the
checkpoint, AlbertForPreTraining and AutoTokenizer load it offline. The last hidden states agree with transformers' in
double precision within 2e-5 of the largest value; tensors are the same to the bit.

    tests/parity/huggingface.sh tests/hugging_face/compare_transformers.py --build build
"""

import argparse
import copy
import os
import random
import re
import subprocess
import sys

import h5py
import torch
import transformers
from transformers import AlbertForPreTraining, AutoTokenizer

import random_models
from make_folders import PIECES

# The goal of the two sides' agreement in float32, relative to the largest value.
TOLERANCE = 2e-5

CASES = {
    "head16": dict(hidden=64, heads=4, intermediate=96, embedding=24, layers=3),
    "head32": dict(hidden=96, heads=3, intermediate=128, embedding=16, layers=4, activation="gelu_new"),
    "head64": dict(hidden=128, heads=2, intermediate=256, embedding=32, layers=12),
    "head64_tanh": dict(hidden=128, heads=2, intermediate=256, embedding=32, layers=12, activation="gelu_new"),
    "groups": dict(hidden=64, heads=4, intermediate=96, embedding=24, layers=5, groups=2),
    # Where the rounding of layers / groups decides: transformers puts iteration 9 of 18 into group 6 of 14.
    "rounding": dict(hidden=32, heads=2, intermediate=40, embedding=8, layers=18, groups=14, activation="gelu_new"),
    "inner": dict(hidden=64, heads=2, intermediate=96, embedding=24, layers=4, groups=2, inner=2),
    "equal_sizes": dict(hidden=48, heads=3, intermediate=80, embedding=48, layers=3),
    "odd": dict(hidden=35, heads=5, intermediate=37, embedding=11, layers=4, activation="gelu_new"),
}
FORMS = {
    "transformers": None,  # its own save_pretrained
    "zip": random_models.save_zip,
    "legacy": random_models.save_legacy,
    "shards": random_models.save_shards,
}


def run(build, program, *arguments):
    command = [os.path.join(build, "protalbert_" + program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def make_proteins(path):
    generator = random.Random(3)
    proteins = ["".join(generator.choices("LAGVESIKRDTPNQFYMHCWXUZOB", k=generator.randint(1, 118))) for _ in range(8)]
    with open(path, "w") as file:
        file.writelines(f">p{number}\n{protein}\n" for number, protein in enumerate(proteins))
    return proteins


def expected_ids(protein):
    """By hand: what the published procedure comes down to."""
    letters = re.sub("[UZOB]", "X", protein)
    return [PIECES.index(piece) for piece in ["[CLS]", *letters, "[SEP]"]]


@torch.inference_mode()
def hidden_states(model, ids):
    """Residues' rows of every protein, one below the other."""
    return torch.cat([model(input_ids=torch.tensor([row])).last_hidden_state[0, 1:-1] for row in ids])


def residues(path):
    with h5py.File(path) as file:
        return torch.tensor(file["residues"][()])


def deviation(ours, theirs):
    return ((ours.double() - theirs.double()).abs().max() / theirs.abs().max()).item()


def load(folder):
    model, information = AlbertForPreTraining.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    problems = {key: value for key, value in information.items() if value}
    assert not problems, f"{folder}: {problems}"
    return model.eval()


def compare(build, name, case, form, save):
    """In and out again; returns the deviations of both directions."""
    place = f"{name}_{form}"
    generator = torch.Generator().manual_seed(sum(name.encode()))
    model = random_models.make_model(generator, positions=120, **case)
    random_models.round_weights(model, torch.float32)
    if save is None:
        # As it is in float32; the model itself stays as it was.
        model.float().save_pretrained(place)
        model.double()
    else:
        random_models.save_folder(model, place, torch.float32, save)
    with open(os.path.join(place, "vocab.txt"), "w") as file:
        file.writelines(piece + "\n" for piece in PIECES)

    proteins = make_proteins("proteins.fasta")
    ids = [expected_ids(protein) for protein in proteins]
    theirs = hidden_states(model.albert, ids)
    run(build, "embed", "--checkpoint", place, "proteins.fasta", "--output", place + ".embeddings.h5", "--pool", "none",
        "--overwrite")
    inward = deviation(residues(place + ".embeddings.h5"), theirs)

    run(build, "convert", place, place + ".h5")
    run(build, "convert", place + ".h5", place + "_out")
    loaded = load(place + "_out")
    original = model.state_dict()
    state = loaded.state_dict()
    assert set(state) == set(original), set(state) ^ set(original)
    for key, tensor in state.items():
        assert torch.equal(tensor.double(), original[key]), f"{place}: {key} changed"
    tokenizer = AutoTokenizer.from_pretrained(place + "_out", local_files_only=True)
    for text in (" ".join, "".join):
        tokenised = tokenizer([text(protein) for protein in proteins])["input_ids"]
        assert tokenised == ids, f"{place}: the tokenizer gives other ids"
    # As a user calls it: a padded batch with its mask, float32.
    batch = tokenizer([" ".join(protein) for protein in proteins], padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = loaded.albert(**batch).last_hidden_state
    rows = torch.cat([hidden[i, 1 : len(row) - 1] for i, row in enumerate(ids)])
    return inward, deviation(rows, residues(place + ".embeddings.h5"))


def old_norms(state):
    """As TensorFlow's names for layer norms."""
    return {re.sub("LayerNorm.bias$", "LayerNorm.beta", re.sub("LayerNorm.weight$", "LayerNorm.gamma", key)): tensor
            for key, tensor in state.items()}


class Classifier(torch.nn.Module):
    """Somebody's own model around ours."""

    def __init__(self, model):
        super().__init__()
        self.backbone = model
        self.head = torch.nn.Linear(3, 2)


def training_checkpoint(model, key):
    """With the state of an optimizer that has made a step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    model(input_ids=torch.tensor([[2, 5, 3]])).prediction_logits.sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return {"epoch": 3, "best": 0.25, "optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict(),
            "rng": {"cpu": torch.get_rng_state()}, key: model.state_dict(), "history": [(1, 0.5), (2, None)]}


def variants(model):
    """{name: (what torch.save is given, in the older layout)}: as PyTorch's own wrappers and training scripts save."""
    part = copy.deepcopy(model)
    part.albert = torch.compile(part.albert)
    layers = copy.deepcopy(model)
    layers.albert.encoder = torch.nn.DataParallel(layers.albert.encoder)
    return {
        "compiled": (torch.compile(model).state_dict(), False),
        "parallel": (torch.nn.DataParallel(model).state_dict(), False),
        "compiled_parallel": (torch.nn.DataParallel(torch.compile(model)).state_dict(), True),
        "compiled_part": (part.state_dict(), False),
        "parallel_encoder": (layers.state_dict(), False),
        "classifier": (Classifier(model).state_dict(), False),
        "classifier_bare": (Classifier(model.albert).state_dict(), True),
        "norms": (old_norms(model.state_dict()), False),
        "state_dict": (training_checkpoint(model, "state_dict"), False),
        "model": (training_checkpoint(model, "model"), True),
        "within": ({"trainer": {"model_state_dict": torch.nn.DataParallel(model).state_dict()}}, False),
    }


def compare_variants(build):
    """Weights as others save them; returns the largest deviation from the model that was saved, and prints what
    transformers makes of the same folder."""
    generator = torch.Generator().manual_seed(7)
    model = random_models.make_model(generator, positions=120, **CASES["groups"])
    random_models.round_weights(model, torch.float32)
    ids = [expected_ids(protein) for protein in make_proteins("proteins.fasta")]
    theirs = hidden_states(model.albert, ids)
    model.float()
    worst = 0
    for name, (content, old_layout) in variants(model).items():
        place = f"variant_{name}"
        random_models.save_folder(model, place, torch.float32, lambda state, folder: torch.save(
            content, os.path.join(folder, "pytorch_model.bin"), _use_new_zipfile_serialization=not old_layout))
        with open(os.path.join(place, "vocab.txt"), "w") as file:
            file.writelines(piece + "\n" for piece in PIECES)
        run(build, "embed", "--checkpoint", place, "proteins.fasta", "--output", place + ".h5", "--pool", "none",
            "--overwrite")
        ours = deviation(residues(place + ".h5"), theirs)
        worst = max(worst, ours)
        try:
            loaded = AlbertForPreTraining.from_pretrained(place, local_files_only=True).eval().double()
            same = deviation(hidden_states(loaded.albert, ids), theirs) < 1e-6
            verdict = "loads the same" if same else "loads other weights"
        except Exception as error:
            verdict = f"refuses: {type(error).__name__}"
        if name == "norms":
            assert verdict == "loads the same", verdict
        print(f"  {name:24s} {ours:.2e}  transformers {verdict}", flush=True)
    return worst


def compare_trained(build, name, model_keys):
    """A model of our own training, with what transformers has not: sharing of parts, no projection."""
    keys = dict(dict(layers=4, hidden=32, intermediate=48, heads=2, embedding=16, positions=120), **model_keys)
    with open(name + ".toml", "w") as deck:
        deck.write("[model]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()))
        deck.write('[data]\ncorpus = "corpus.h5"\nmax_length = 64\n[train]\nglobal_batch = 4\nsteps = 3\nwarmup = 0\n'
                   f'learning_rate = 0.05\nbatch_tokens = 300\n[checkpoint]\ndirectory = "{name}_run"\n')
    proteins = make_proteins("proteins.fasta")
    with open("vocabulary.txt", "w") as file:
        file.writelines(piece + "\n" for piece in PIECES)
    if not os.path.exists("corpus.h5"):
        run(build, "prepare", "proteins.fasta", "--output", "corpus.h5", "--vocabulary", "vocabulary.txt")
    run(build, "pretrain", name + ".toml")
    run(build, "convert", name + "_run", name + "_out")
    run(build, "embed", "--checkpoint", name + "_run", "proteins.fasta", "--output", name + ".h5", "--pool", "none")
    theirs = hidden_states(load(name + "_out").double().albert, [expected_ids(protein) for protein in proteins])
    return deviation(residues(name + ".h5"), theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="the folder of the programs")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print("largest deviation, in units of the largest value:  in        out", flush=True)
    worst = 0
    forms = list(FORMS.items())
    for number, (name, case) in enumerate(CASES.items()):
        # Every form of weights with some shape, and transformers' own with every one.
        for form, save in (forms[0], forms[1 + number % 3]):
            inward, outward = compare(options.build, name, case, form, save)
            worst = max(worst, inward, outward)
            print(f"  {name:12s} {form:14s} {str(case.get('activation', 'gelu')):20s} {inward:.2e}  {outward:.2e}", flush=True)
    for name, keys in {
        "own_attention": dict(sharing='"attention"', groups=2), "own_ffn": dict(sharing='"ffn"', inner=2),
        "own_none": dict(sharing='"none"', activation='"gelu"'), "own_no_projection": dict(embedding=32),
    }.items():
        outward = compare_trained(options.build, name, keys)
        worst = max(worst, outward)
        print(f"  {name:48s}           {outward:.2e}", flush=True)
    print("weights as others save them: in", flush=True)
    worst = max(worst, compare_variants(options.build))
    if not worst <= TOLERANCE:
        sys.exit(f"FAILED: {worst:.2e} is more than {TOLERANCE}")
    print(f"passed: at most {worst:.2e}")


if __name__ == "__main__":
    main()
