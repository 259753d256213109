#!/usr/bin/env python3
"""Writes tokens.txt: real proteins and what transformers' slow AlbertTokenizer makes of them, as published.

A line each: residues, a tab, ids with [CLS] and [SEP]. Made with transformers 4.46.3 (the last major version with that
tokenizer) and sentencepiece 0.2.3:

    tests/parity/huggingface.sh --slow-tokenizer tests/hugging_face/make_tokens.py golden/zip golden/tokens.txt proteins.fasta...

The shortest protein of each residue among those with letters that become X, and some others: short, so that the
repository stays small.
"""
import sys

import common_proteins
from transformers import AlbertTokenizer


def main():
    folder, output, *fastas = sys.argv[1:]
    proteins = sorted((protein for fasta in fastas for protein in common_proteins.read_fasta(fasta)), key=len)
    chosen = proteins[:12]
    for letter in "UZOBX":
        chosen += [protein for protein in proteins if letter in protein][:2]
    tokenizer = AlbertTokenizer.from_pretrained(folder, do_lower_case=False)
    with open(output, "w") as file:
        for protein in chosen:
            ids = common_proteins.published_ids(tokenizer, protein)
            file.write(protein + "\t" + " ".join(map(str, ids)) + "\n")


main()
