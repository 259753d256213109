"""Real proteins through transformers' slow AlbertTokenizer as published, through protalbert_prepare, and through the
tokenizer that protalbert_convert writes: the same ids.

    tests/parity/huggingface.sh --slow-tokenizer tests/hugging_face/compare_tokenizer.py --build build --data ../shared/data
"""

import argparse
import glob
import os
import subprocess
import sys

import h5py
import transformers
from transformers import AlbertTokenizer, AutoTokenizer

import common_proteins

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "zip")


def run(build, program, *arguments):
    subprocess.run([os.path.join(build, "protalbert_" + program), *arguments], check=True, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="the folder of the programs")
    parser.add_argument("--data", required=True, help="folder with FASTA files of residues, in folders")
    options = parser.parse_args()
    files = glob.glob(os.path.join(options.data, "*", "sequences.fasta"))
    files += glob.glob(os.path.join(options.data, "localization", "*.fasta"))
    proteins = [protein for file in sorted(files) for protein in common_proteins.read_fasta(file)]
    if not proteins:
        sys.exit(f"error: no proteins in {options.data}")
    with open("real.fasta", "w") as file:
        file.writelines(f">{number}\n{protein}\n" for number, protein in enumerate(proteins))

    run(options.build, "prepare", "real.fasta", "--output", "real.h5", "--vocabulary",
        os.path.join(GOLDEN, "spiece.model"), "--keep-ids")
    run(options.build, "convert", GOLDEN, "tokenizer.h5", "--overwrite")
    run(options.build, "convert", "tokenizer.h5", "tokenizer", "--overwrite")
    slow = AlbertTokenizer.from_pretrained(GOLDEN, do_lower_case=False)
    ours = AutoTokenizer.from_pretrained("tokenizer", local_files_only=True)
    corpus = {}
    with h5py.File("real.h5") as file:
        tokens, offsets = file["tokens"][()], file["offsets"][()]
        for row, name in enumerate(file["ids"][()]):
            corpus[int(name)] = tokens[offsets[row] : offsets[row + 1]].tolist()
    assert len(corpus) == len(proteins)
    replaced = 0
    for number, protein in enumerate(proteins):
        expected = common_proteins.published_ids(slow, protein)
        replaced += any(letter in protein for letter in "UZOB")
        assert corpus[number] == expected[1:-1], f"protalbert_prepare: {protein}"
        assert common_proteins.published_ids(ours, protein) == expected, f"exported tokenizer: {protein}"
        # The replacement is part of the exported tokenizer.
        assert ours(" ".join(protein))["input_ids"] == expected, f"exported tokenizer without preprocessing: {protein}"
    pair = (" ".join(proteins[0]), " ".join(proteins[1]))
    for key in ("input_ids", "token_type_ids", "attention_mask"):
        assert ours(*pair)[key] == slow(*pair)[key], f"a pair's {key}"
    for token in ("pad", "unk", "cls", "sep", "mask"):
        assert getattr(ours, token + "_token_id") == getattr(slow, token + "_token_id"), token
    print(f"transformers {transformers.__version__}: {len(proteins)} real proteins, {replaced} of them with U, Z, O or B, "
          f"and a pair have the ids of the slow tokenizer")


if __name__ == "__main__":
    main()
