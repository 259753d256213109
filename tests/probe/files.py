"""Files and calls that the tests of protalbert_probe's inputs share."""

import json
import os
import random
import unittest

import h5py
import numpy

from programs import LETTERS, REFERENCE, run, write


def fasta(records):
    return "".join(f">{header}\n{text}\n" for header, text in records)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def load_json(path):
    with open(path) as file:
        return json.load(file)


def parameters(path):
    with h5py.File(path) as file:
        return {name: file["parameters"][name][()] for name in file["parameters"]}


def write_vectors(path, ids, lengths, residues=None, mean=None, status=None):
    """A file as of protalbert_embed; `lengths` are 0 for proteins that have no rows."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "protalbert embeddings", "version": 1, "config": "{}"})
        file.attrs["checkpoint_hash"] = numpy.uint64(1)
        file["ids"] = numpy.array(ids, dtype="S40")
        file["lengths"] = numpy.array(lengths, dtype=numpy.uint64)
        file["status"] = numpy.array([0] * len(ids) if status is None else status, dtype=numpy.uint8)
        file["offsets"] = numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.uint64)
        if residues is not None:
            file["residues"] = residues
        if mean is not None:
            file["mean"] = mean


class Files(unittest.TestCase):
    COUNT = 16

    @classmethod
    def setUpClass(cls):
        for name in os.listdir():  # of an earlier call of this script
            if name.endswith(".lock") or name == "bad.h5":
                os.remove(name)
        # An encoder that takes 40 residues, and proteins that are no longer.
        code, output = run(1, "make", "short.h5", 3, 42, program=REFERENCE)
        assert code == 0, output
        generator = random.Random(11)
        cls.ids = [f"p{i}" for i in range(cls.COUNT)]
        cls.sequences = ["".join(generator.choices(LETTERS, k=generator.randint(15, 40))) for _ in cls.ids]
        cls.labels = ["".join(generator.choices("HEC", k=len(sequence))) for sequence in cls.sequences]
        cls.splits = ["SET=test VALIDATION=False" if i % 4 == 3 else f"SET=train VALIDATION={i % 4 == 2}"
                      for i in range(cls.COUNT)]
        write("proteins.fasta", fasta(zip(cls.ids, cls.sequences)))
        cls.write_labels("labels.fasta", cls.labels)
        places = ("Nucleus", "Cell.membrane", "Cytoplasm", "Plastid")
        cls.places = [places[i // 4] for i in range(cls.COUNT)]

    @classmethod
    def write_labels(cls, path, labels, headers=None):
        write(path, fasta((f"{name} {header}", text) for name, header, text in
                          zip(cls.ids, headers or cls.splits, labels)))

    def train(self, labels, output, *arguments, ranks=1, code=0, task="secondary_structure", encoder="short.h5"):
        """A head in two epochs; what the program said."""
        file = ("--localization" if task == "localization" else "--three-state", labels)
        if "--embeddings" not in arguments:
            arguments = ("--checkpoint", encoder, *arguments)
            if task == "secondary_structure" and "--proteins" not in arguments:
                arguments = ("--proteins", "proteins.fasta", *arguments)
        if "--batch" not in arguments:
            arguments = ("--batch", 4, *arguments)
        result, text = run(ranks, "train", "--task", task, *file, "--epochs", 2, "--output", output, *arguments)
        self.assertEqual(result, code, text)
        if code == 2:
            self.assertEqual(text.count("error: "), 1, text)
        self.assertFalse(os.path.exists(output + ".lock"), "what was held is removed")
        return text

    def warnings(self, text):
        return [line for line in text.splitlines() if line.startswith("warning: ")]
