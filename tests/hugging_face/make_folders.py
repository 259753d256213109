#!/usr/bin/env python3
"""Writes golden/: small Hugging Face folders in every form of weights, with transformers' last hidden states.

test_golden_folders.cpp compares ours with them. Made with torch 2.15 and transformers 5.24:

    tests/parity/huggingface.sh tests/hugging_face/make_folders.py tests/hugging_face/golden

The reference computes in double precision from weights that the stored type holds exactly. expected.safetensors:
`tokens` and `lengths` (as float32, exact) of sequences without padding, `hidden` [sum of lengths, H].
"""
import os
import struct
import sys

import torch
from safetensors.torch import save_file

import random_models

# Small, so that the repository stays so; each reaches something that no other does.
CASES = {
    # head size 16, the newer torch.save, no prefix, no heads
    "zip": (dict(), torch.float32, random_models.save_bare_zip),
    # head size 32, the older torch.save, transposed kernels
    "legacy": (dict(heads=1, intermediate=20, activation="gelu_new", layers=2), torch.float32,
               random_models.save_legacy),
    # head size 64
    "half": (dict(hidden=64, heads=1, intermediate=40, activation="gelu_new", layers=2), torch.float16,
             random_models.save_safetensors),
    "shards": (dict(groups=2, inner=2, layers=4, intermediate=16), torch.bfloat16, random_models.save_shards),
    # E = H, which has a projection here
    "equal_sizes": (dict(hidden=32, embedding=32), torch.float16, random_models.save_safetensors),
}
LENGTHS = [11, 2, 17]


PIECES = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *"()\"-.–£€", *"LASGEVTRKDIPNFQYHMCWX"]


def sentencepiece_model():
    """ProtAlbert's first thirteen pieces and one piece a residue with the marker of a word's beginning: a word model,
    written as the protocol buffer that it is. The letters' order is neither the published nor the built-in one."""

    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    model = b""
    for index, piece in enumerate(PIECES):
        # Types: 1 normal, 2 unknown, 3 control, 4 user-defined.
        kind = 2 if piece == "<unk>" else 3 if index < 5 else 4 if index < 13 else 1
        name = ("▁" if kind == 1 else "") + piece
        model += field(1, field(1, name.encode()) + b"\x15" + struct.pack("<f", -index / 10) + bytes([0x18, kind]))
    trainer = b"\x18\x03"  # model_type: word
    normalizer = field(1, b"identity")
    return model + field(2, trainer) + field(3, normalizer)


def main():
    folder = sys.argv[1]
    generator = torch.Generator().manual_seed(20260101)
    for name, (case, dtype, save) in CASES.items():
        model = random_models.make_model(generator, **case)
        random_models.round_weights(model, dtype)
        place = os.path.join(folder, name)
        random_models.save_folder(model, place, dtype, save)
        tokens = random_models.random_tokens(generator, LENGTHS, 34)
        hidden = random_models.last_hidden_states(model, tokens)
        save_file({"tokens": torch.cat(tokens).float(), "lengths": torch.tensor(LENGTHS).float(),
                   "hidden": hidden.float()}, os.path.join(place, "expected.safetensors"))
        if name == "half":
            with open(os.path.join(place, "vocab.txt"), "w") as file:
                file.writelines(piece + "\n" for piece in PIECES)
        else:
            with open(os.path.join(place, "spiece.model"), "wb") as file:
                file.write(sentencepiece_model())


if __name__ == "__main__":
    main()
