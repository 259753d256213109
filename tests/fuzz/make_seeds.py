#!/usr/bin/env python3
"""Makes the fuzzers' seeds anew: make_seeds.py FOLDER. Needs torch and sentencepiece for those of PyTorch and of
SentencePiece, which are left out without; the seeds that came from faults are not made here."""

import gzip
import io
import json
import pathlib
import struct
import sys

folder = pathlib.Path(sys.argv[1])
CUT = b"\x1c"  # between files (fuzzing.hpp)


def seed(fuzzer, name, content):
    place = folder / fuzzer / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


# First byte: format, letters, compression (fuzz_sequences.cpp).
AUTOMATIC, SKIP, UNKNOWN, COMPRESS = 0, 4, 8, 16
fasta = b">sp|P1 first protein\nMKTAYIAKQR\nQISFVKSHFSRQ\n\n>second\nMUZOB*\n>empty\n>last\r\nAC DE\r\nFG"
text = b"M K T A Y\nA C D E *\n\nG H I K\r\n\n\nL M N"
seed("sequences", "fasta", bytes([AUTOMATIC]) + fasta)
seed("sequences", "fasta_skip", bytes([SKIP]) + fasta + b"1J")
seed("sequences", "fasta_gzip", bytes([UNKNOWN | COMPRESS]) + fasta)
seed("sequences", "text", bytes([AUTOMATIC]) + text)
seed("sequences", "text_unknown", bytes([UNKNOWN]) + text + b" 7 J")
seed("sequences", "mark", bytes([AUTOMATIC]) + b"\xef\xbb\xbf" + fasta)
members = gzip.compress(b">a\nMKT\n", mtime=0) + gzip.compress(b">b\nACD\n", mtime=0)
seed("sequences", "gzip", bytes([AUTOMATIC]) + members)
seed("sequences", "gzip_cut", bytes([AUTOMATIC]) + members[:-5])

ids = b">1abc-A SET=train VALIDATION=False\n%b\n>2xyz-B SET=test VALIDATION=True\n%b\n"
structure = [ids % (b"HHEC-C", b"C.E"), ids % (b"GHIBES", b"TC-"), ids % (b"001100", b"110"), ids % (b"111010", b"101"),
             ids % (b"MKTAYI", b"ACX")]
seed("labels", "structure", b"\0" + CUT.join(structure))
seed("labels", "eight_alone", b"\0" + CUT + structure[1] + CUT * 3 + structure[4])
seed("labels", "localization", b"\1>P1 Nucleus-S test\nMKT\n>P2 Cell.membrane-M\nACD*\n>P3 Cytoplasm-Nucleus-U\nGG" + CUT +
     b">P1\nMKT\n>P2\nACD\n>P3\nGG\n")

pieces = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"] + list("LAGVESIKRDTPNQFYMHCWX")
seed("vocabulary", "text", "".join(piece + "\n" for piece in pieces).encode())
seed("vocabulary", "brackets", "\r\n".join(["[PAD]", "[UNK]"] + ["▁" + piece for piece in pieces[2:]]).encode())
seed("vocabulary", "tokenizer_json", json.dumps({"model": {"type": "WordLevel", "vocab": {
    piece: number for number, piece in enumerate(pieces)}}, "added_tokens": [{"id": 0, "content": "<pad>"}]}).encode())


def field(number, content):
    """Of a protocol buffer: bytes or a small number."""
    if isinstance(content, int):
        return bytes([8 * number, content])
    return bytes([8 * number + 2, len(content)]) + content


model = b""
for number, piece in enumerate(pieces):
    kind = 2 if piece == "<unk>" else 3 if number < 5 else 1  # unknown, control, normal
    model += field(1, field(1, piece.encode()) + b"\x15" + struct.pack("<f", -number) + field(3, kind))
model += field(2, field(3, 1)) + field(3, field(1, b"identity"))
seed("vocabulary", "sentencepiece", model)

deck = b"""[data]
corpus = "corpus.h5" # a comment
max_length = 512
masked_fraction = 0.15
[model]
preset = "albert_base"
hidden = 64
heads = 4
[train]
steps = 100
learning_rate = 1e-3
reproducible = true
[run]
time_limit = "23h30m"
"""
seed("deck", "deck", deck)
seed("deck", "override", b"[data]\ncorpus='c'\n[run]\ntime_limit=01:30:00\nlist=[1,{a=1}]\ndate=1979-05-27T07:32:00Z\n" +
     CUT + b"train.steps=5")

config = {"model_type": "albert", "vocab_size": len(pieces), "embedding_size": 2, "hidden_size": 4,
          "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 3, "max_position_embeddings": 5,
          "num_hidden_groups": 1, "inner_group_num": 1, "hidden_act": "gelu_new", "layer_norm_eps": 1e-12,
          "type_vocab_size": 2, "initializer_range": 0.02, "id2label": {"0": "a"}}
seed("config", "config", json.dumps(config).encode())
seed("config", "ours", json.dumps({**config, "sharing": "ffn", "projection": False, "embedding_size": 4}).encode())

header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
          "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]}}
header = json.dumps(header, separators=(",", ":")).encode()
seed("safetensors", "set_length", b"\1" + header + CUT + bytes(10))
seed("safetensors", "whole", b"\0" + struct.pack("<Q", len(header)) + header + bytes(10))
seed("safetensors", "pointer", b"\0version https://git-lfs.github.com/spec/v1\n")

# Three files: config.json, vocabulary, the header of model.safetensors.
small = dict(config, vocab_size=len(pieces))
H, E, F, V, P = (small[key] for key in ("hidden_size", "embedding_size", "intermediate_size", "vocab_size",
                                        "max_position_embeddings"))
layer = "encoder.albert_layer_groups.0.albert_layers.0."
shapes = {"embeddings.word_embeddings.weight": [V, E], "embeddings.position_embeddings.weight": [P, E],
          "embeddings.token_type_embeddings.weight": [2, E], "embeddings.LayerNorm.weight": [E],
          "embeddings.LayerNorm.bias": [E], "encoder.embedding_hidden_mapping_in.weight": [H, E],
          "encoder.embedding_hidden_mapping_in.bias": [H]}
for part in ("attention.query", "attention.key", "attention.value", "attention.dense"):
    shapes |= {layer + part + ".weight": [H, H], layer + part + ".bias": [H]}
for part in ("attention.LayerNorm", "full_layer_layer_norm"):
    shapes |= {layer + part + ".weight": [H], layer + part + ".bias": [H]}
shapes |= {layer + "ffn.weight": [F, H], layer + "ffn.bias": [F], layer + "ffn_output.weight": [H, F],
           layer + "ffn_output.bias": [H], "pooler.weight": [H, H], "pooler.bias": [H]}
entries, end = {}, 0
for name, shape in shapes.items():
    elements = shape[0] * (shape[1] if len(shape) > 1 else 1)
    entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + 2 * elements]}
    end += 2 * elements
seed("hugging_face", "folder", json.dumps(small).encode() + CUT + "".join(p + "\n" for p in pieces).encode() + CUT +
     json.dumps(entries, separators=(",", ":")).encode())

# Changes of four bytes each, and where the file ends (fuzz_seal.cpp).
seed("seal", "good", b"")
seed("seal", "superblock", b"\x09\0\0\1")
seed("seal", "cut", b"\0\2\0")

# Batches, proteins, hashes that fit; progress, positions, footer (fuzz_footer.cpp).
for proteins in (0, 2):
    table = 8
    numbers = [table, 2, proteins, 1, 2, 3, 4, 0, 0]
    seed("footer", f"proteins_{proteins}", bytes([2, proteins, 3]) + bytes(table) + bytes(2 * 16) + bytes(proteins * 8) +
         struct.pack("<9Q", *numbers) + b"protalbert part\0")

# Recipes (fuzz_hdf5.cpp): each format as it should be, sealed and not.
for number, name in enumerate(("checkpoint", "corpus", "head", "embeddings")):
    seed("hdf5", name, bytes([number]))
    seed("hdf5", name + "_sealed", bytes([0x80 | number]))

try:
    import torch

    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.arange(6.0).reshape(3, 2).t(),
               "c": torch.zeros(2, dtype=torch.bfloat16)}
    for name, zipped in (("zip", True), ("legacy", False)):
        stream = io.BytesIO()
        torch.save(tensors, stream, _use_new_zipfile_serialization=zipped)
        content = stream.getvalue()
        seed("pytorch", name, content)
    # The state dict's pickle begins with the last protocol mark before the names of tensors.
    at = content.rindex(b"\x80\x02", 0, content.index(b"a.weight"))
    seed("pickle", "state_dict", content[at : content.index(b".", content.index(b"c", at + 200)) + 1] + b".")
    seed("pickle", "state_dict_more", content[at:])
except ImportError:
    print("no torch: seeds of PyTorch are left out")
