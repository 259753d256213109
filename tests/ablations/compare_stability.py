"""protalbert_bench stability against transformers' hidden states in double precision, also beyond the trained depth.

    PYTHONPATH=tests/train tests/parity/huggingface.sh tests/ablations/compare_stability.py BUILD_FOLDER

in a folder of BUILD_FOLDER/tests (ctest -R ablations.transformers), which is emptied.
"""

import json
import subprocess

import torch
from transformers import AlbertModel, AutoTokenizer

from pretrain import build, check, clean, finish, prepare, run, write_deck, write_proteins

DEPTHS = {"all": 7, "none": 3}  # iterations to run of 3 trained ones


def program(name, *arguments):
    subprocess.run([build / f"protalbert_{name}", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def changes(folder, proteins, depth):
    """Means over tokens by iteration: distance, cosine, degrees."""
    model = AlbertModel.from_pretrained(folder, num_hidden_layers=depth).double().eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sums, tokens = torch.zeros(depth, 3, dtype=torch.float64), 0
    for protein in proteins:
        with torch.no_grad():
            hidden = model(**tokenizer(" ".join(protein), return_tensors="pt"), output_hidden_states=True).hidden_states
        tokens += hidden[0].shape[1]
        for i, (x, y) in enumerate(zip(hidden, hidden[1:])):
            cosine = torch.nn.functional.cosine_similarity(x[0], y[0], dim=1)
            sums[i] += torch.stack([(y[0] - x[0]).norm(dim=1).sum(), cosine.sum(), cosine.acos().rad2deg().sum()])
    return sums / tokens


clean()
write_proteins("proteins.fasta", 30, 5, 100)
proteins = open("proteins.fasta").read().split("\n")[1::2]
prepare("proteins.fasta", "corpus.h5")
for sharing, depth in DEPTHS.items():
    # Weights so large that every iteration does something.
    write_deck("deck.toml", model_layers=3, model_sharing=sharing, model_initializer_range=0.3, data_validation=None,
               train_steps=1, checkpoint_directory=f"run_{sharing}")
    code, output = run(1, "deck.toml")
    check(code == 0, f"a model that shares {sharing}")
    folder = f"hf_{sharing}"
    program("convert", f"run_{sharing}", folder)
    program("bench", "stability", "--checkpoint", f"run_{sharing}", "--fasta", "proteins.fasta", "--iterations", depth,
            "--json", "ours.json")
    ours = json.load(open("ours.json"))["iterations"]
    check(len(ours) == depth, f"{depth} iterations")
    for mine, theirs in zip(ours, changes(folder, proteins, depth).tolist()):
        # Hidden states agree within 2e-5 of the largest value (compare_transformers.py), of size 3 with 16 features.
        for key, value, tolerance in zip(("distance", "cosine", "degrees"), theirs, (2e-4, 2e-5, 2e-3)):
            check(abs(mine[key] - value) <= tolerance,
                  f"iteration {mine['iteration']}: {key} {mine[key]:.6f}, transformers' {value:.6f}")
finish()
