"""Real proteins, and the published way to tokenise them (ProtTrans' notebooks)."""

import re


def read_fasta(path):
    """Sequences alone, without a trailing '*'."""
    with open(path) as file:
        records = file.read().split(">")[1:]
    return ["".join(record.split("\n")[1:]).upper().rstrip("*") for record in records]


def published_ids(tokenizer, protein):
    return tokenizer(re.sub(r"[UZOB]", "X", " ".join(protein)), add_special_tokens=True)["input_ids"]
