"""protalbert_probe on inputs as people have them: inputs.py BUILD_FOLDER, in a folder of its own."""

import fcntl
import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
import unittest

import h5py
import numpy

from programs import EMBED, LETTERS, MPIRUN, PROBE, REFERENCE, TIMEOUT, run, write

# FLIP's secondary structure and DeepLoc 1.0, beside the checkout or where the variable says; where they are not, the
# tests on them are skipped.
REAL = os.environ.get("PROTALBERT_LABELLED_DATA",
                      os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared", "data"))
STRUCTURE, LOCALIZATION = os.path.join(REAL, "secondary_structure"), os.path.join(REAL, "localization")


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


class Inputs(unittest.TestCase):
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

    def follow(self, line, output):
        """Carries out the shell command that a warning advises, as one would; its NEW_FILE is `output`."""
        command = re.search(r"replace it: (.*) > NEW_FILE$", line).group(1)
        subprocess.run(f"{command} > {output}", shell=True, check=True)

    # Classes without labels.

    def test_coil_as_a_hyphen(self):
        """Where '-' stands for coil, C has no label: said once, with the command that mends it."""
        for letter, name in (("-", "dash.fasta"), (".", "dot.fasta"), ("-", "of two words.fasta")):
            self.write_labels(name, [labels.replace("C", letter) for labels in self.labels])
            lines = self.warnings(self.train(name, "coil.h5", "--no-baselines", ranks=2))
            self.assertEqual(len(lines), 1, lines)
            self.assertIn("three_state: no residue is labelled C (other)", lines[0])
            self.assertIn(f'"{letter}" means no label here', lines[0])
            self.follow(lines[0], "coil.fasta")
            self.assertEqual(read("coil.fasta"), read("labels.fasta"))
            self.assertEqual(self.warnings(self.train("coil.fasta", "coil.h5", "--no-baselines")), [])
        with gzip.open("dash.fasta.gz", "wb") as file:
            file.write(read("dash.fasta"))
        self.follow(self.warnings(self.train("dash.fasta.gz", "coil.h5", "--no-baselines"))[0], "coil.fasta")
        self.assertEqual(read("coil.fasta"), read("labels.fasta"))

    def test_classes_without_labels(self):
        # No '-' in the file: no words about it.
        self.write_labels("helix.fasta", [labels.replace("C", "H") for labels in self.labels])
        lines = self.warnings(self.train("helix.fasta", "some.h5", "--no-baselines"))
        self.assertEqual(lines, ["warning: three_state: no residue is labelled C (other)"])
        # '-' and C: nothing is missing.
        self.write_labels("some.fasta", ["-" + labels[1:] for labels in self.labels])
        self.assertEqual(self.warnings(self.train("some.fasta", "some.h5", "--no-baselines")), [])
        # The test set alone: two files put together, say.
        self.write_labels("mixed.fasta", [labels.replace("C", "-") if i % 4 == 3 else labels
                                          for i, labels in enumerate(self.labels)])
        lines = self.warnings(self.train("mixed.fasta", "some.h5", "--no-baselines"))
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("three_state: no residue of the test set is labelled C (other)", lines[0])
        self.assertIn('"-" means no label', lines[0])
        # Each kind has its line; evaluate looks at its own set.
        eight = ["".join({"H": "GHIB"[i % 4], "E": "EST"[i % 3], "C": "-"}[letter] for i, letter in enumerate(labels))
                 for labels in self.labels]
        self.write_labels("eight.fasta", eight)
        lines = self.warnings(self.train("mixed.fasta", "some.h5", "--no-baselines", "--eight-state", "eight.fasta"))
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("eight_state: no residue is labelled C (other);", lines[1])
        self.follow(lines[1], "eight_coil.fasta")
        self.assertEqual(read("eight_coil.fasta").count(b"C"), read("labels.fasta").count(b"C"))
        code, text = run(2, "evaluate", "--task", "secondary_structure", "--head", "some.h5", "--three-state",
                         "mixed.fasta", "--checkpoint", "short.h5", "--proteins", "proteins.fasta", "--set", "train")
        self.assertEqual((code, self.warnings(text)), (0, []), text)
        # A kind without any label is not trained.
        self.write_labels("none.fasta", ["-" * len(labels) for labels in self.labels])
        lines = self.warnings(self.train("labels.fasta", "some.h5", "--no-baselines", "--eight-state", "none.fasta"))
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("eight_state: none.fasta has no label to train on", lines[0])
        self.assertNotIn("eight_state.weight", parameters("some.h5"))
        self.assertIn("no labels to train on", self.train("none.fasta", "bad.h5", code=2, ranks=2))

    def test_locations_without_proteins(self):
        headers = [f"{place}-S" + (" test" if i % 4 == 3 and place != "Plastid" else "")
                   for i, place in enumerate(self.places)]
        self.write_labels("places.fasta", self.sequences, headers)
        text = self.train("places.fasta", "place.h5", "--no-baselines", task="localization", ranks=2)
        lines = self.warnings(text)
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("location: no protein of the training set is labelled Endoplasmic.reticulum, Golgi.apparatus, "
                      "Lysosome/Vacuole, Mitochondrion, Peroxisome, Extracellular; no protein of the test set", lines[0])
        self.assertIn("membrane: no protein is labelled membrane", lines[1])

    @unittest.skipUnless(os.path.isdir(LOCALIZATION), "the labels of DeepLoc 1.0 are not here")
    def test_no_warning_for_deeploc(self):
        """Real data is no reason to warn: all of DeepLoc's files, with vectors made up."""
        text = "".join(read(os.path.join(LOCALIZATION, f"deeploc_{part}.fasta")).decode() for part in ("train", "test"))
        write("deeploc.fasta", text)
        records = [part.split("\n", 1) for part in text.split(">")[1:]]
        lengths = [len(lines.replace("\n", "")) for _, lines in records]
        write_vectors("deeploc.h5", [header.split()[0] for header, _ in records], lengths,
                      mean=numpy.random.default_rng(1).normal(size=(len(records), 4)).astype(numpy.float32))
        text = self.train("deeploc.fasta", "deep.h5", "--embeddings", "deeploc.h5", "--batch", 512, "--report", "deep.json",
                          task="localization")
        self.assertEqual(self.warnings(text), [])
        self.assertIn("2,768 for the test", text)

    @unittest.skipUnless(os.path.isdir(STRUCTURE), "the labels of FLIP's secondary structure are not here")
    def test_no_warning_for_flip(self):
        """The same of FLIP's secondary structure, every eighth protein."""
        with open(os.path.join(STRUCTURE, "sampled.fasta")) as file:
            records = [part.split("\n", 1) for part in file.read().split(">")[1:]][::8]
        records = [(header, lines.replace("\n", "")) for header, lines in records]
        write("flip.fasta", fasta(records))
        lengths = [len(labels) for _, labels in records]
        write_vectors("flip.h5", [header.split()[0] for header, _ in records], lengths,
                      residues=numpy.random.default_rng(1).normal(size=(sum(lengths), 2)).astype(numpy.float16))
        text = self.train("flip.fasta", "flip_head.h5", "--embeddings", "flip.h5", "--mask",
                          os.path.join(STRUCTURE, "mask.fasta"), "--batch", 64)
        self.assertEqual(self.warnings(text), [])

    def test_other_letters_for_coil(self):
        """L for loop is refused, and the message says which letter is meant."""
        self.write_labels("loop.fasta", [labels.replace("C", "L") for labels in self.labels])
        text = self.train("loop.fasta", "bad.h5", code=2, ranks=2)
        for words in ("loop.fasta:", "label 'L'", "HEC (C: coil, loop, everything else)"):
            self.assertIn(words, text)

    # The split.

    def test_unknown_words_about_the_split(self):
        """STAGE=test does not mean training: refused, and what the message says to write is right."""
        self.write_labels("stage.fasta", self.labels,
                          ["STAGE=test" if i % 4 == 3 else "STAGE=train" for i in range(self.COUNT)])
        text = self.train("stage.fasta", "stage.h5", code=2, ranks=2)
        for words in ("stage.fasta:1: p0: 'STAGE=train'", "write SET=train, SET=test or SET=validation"):
            self.assertIn(words, text)
        write("mended.fasta", read("stage.fasta").decode().replace("STAGE=", "SET="))
        text = self.train("mended.fasta", "stage.h5", "--no-baselines", "--report", "stage.json")
        self.assertEqual(load_json("stage.json")["details"]["test_proteins"], self.COUNT // 4)
        self.write_labels("late.fasta", self.labels, [*self.splits[:-1], "split:test"])
        self.assertIn(f"late.fasta:{2 * self.COUNT - 1}: p{self.COUNT - 1}: 'split:test'",
                      self.train("late.fasta", "stage.h5", code=2))
        # Case does not matter, and biotrainer's val is validation.
        self.write_labels("lower.fasta", self.labels,
                          [split.lower().replace("set=train validation=true", "set=val") for split in self.splits])
        self.train("lower.fasta", "lower.h5", "--no-baselines", "--report", "lower.json")
        self.train("labels.fasta", "upper.h5", "--no-baselines", "--report", "upper.json")
        self.assertEqual(read("lower.json").replace(b"lower.fasta", b"labels.fasta"), read("upper.json"))

    def test_words_in_descriptions(self):
        """'test' and 'train' in a description are words; only SET= and VALIDATION= decide."""
        headers = [f"protein of a pregnancy test strain=K12 train {split}" for split in self.splits]
        self.write_labels("words.fasta", self.labels, headers)
        text = self.train("words.fasta", "words.h5", "--no-baselines", "--report", "words.json")
        self.assertEqual(self.warnings(text), [])
        self.train("labels.fasta", "plain.h5", "--no-baselines", "--report", "plain.json")
        self.assertEqual(read("words.json").replace(b"words.fasta", b"labels.fasta"), read("plain.json"))
        # In the form of DeepLoc the word behind the location decides, and no other.
        self.write_labels("located.fasta", self.sequences,
                          ["Nucleus-S test" if i % 4 == 3 else "Plastid-M of a pregnancy test"
                           for i in range(self.COUNT)])
        self.assertIn(f"{self.COUNT // 4} for the test",
                      self.train("located.fasta", "located.h5", "--no-baselines", task="localization"))

    def test_headers_without_a_split(self):
        """Without any SET= all proteins are for training, and nothing is scored: said aloud."""
        self.write_labels("bare.fasta", self.labels, ["test" if i % 4 == 3 else "" for i in range(self.COUNT)])
        lines = self.warnings(self.train("bare.fasta", "bare.h5", "--no-baselines", ranks=2))
        self.assertEqual(len(lines), 2, lines)
        self.assertIn(f"{self.COUNT} of {self.COUNT} proteins have no SET=train or SET=test in their header (the first "
                      "is bare.fasta:1: p0)", lines[0])
        self.assertIn("bare.fasta: no protein is for the test (SET=test)", lines[1])
        self.write_labels("some_bare.fasta", self.labels, [*self.splits[:-1], ""])
        lines = self.warnings(self.train("some_bare.fasta", "bare.h5", "--no-baselines"))
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(f"1 of {self.COUNT} proteins", lines[0])
        # Another label file may tell it, but nothing else.
        self.write_labels("labels8.fasta", self.labels)
        text = self.train("bare.fasta", "bare.h5", "--no-baselines", "--eight-state", "labels8.fasta")
        self.assertIn(f"{self.COUNT // 4} for the test", text)
        self.write_labels("swapped.fasta", self.labels, [*self.splits[1:], self.splits[0]])
        text = self.train("labels.fasta", "bad.h5", "--eight-state", "swapped.fasta", code=2, ranks=2)
        for words in ("labels.fasta:3: p1", "swapped.fasta:3: p1", "training", "validation"):
            self.assertIn(words, text)

    # Locations.

    def test_flip_locations(self):
        """FLIP's TARGET= and SET= tell location and split; without M and S only the location is learned."""
        names = [place.replace(".", "._-"[i % 3]) for i, place in enumerate(self.places)]
        self.write_labels("flip_places.fasta", self.sequences,
                          [f"TARGET={name} {split}" for name, split in zip(names, self.splits)])
        text = self.train("flip_places.fasta", "flip_place.h5", "--report", "flip_place.json", task="localization",
                          ranks=2)
        self.assertIn("membrane: flip_places.fasta has no label to train on", text)
        report = load_json("flip_place.json")
        self.assertEqual(list(report["kinds"]), ["location"])
        self.assertEqual(len(report["kinds"]["location"]["results"]), 4)
        self.assertEqual(report["details"]["test_proteins"], self.COUNT // 4)
        self.assertEqual([sum(row) for row in report["kinds"]["location"]["results"][0]["confusion"]],
                         [1, 1, 0, 0, 0, 0, 1, 0, 1, 0])
        self.assertEqual(set(parameters("flip_place.h5")),
                         {"hidden.weight", "hidden.bias", "location.weight", "location.bias"})
        # The same in DeepLoc's form gives the same head of locations.
        self.write_labels("deep_places.fasta", self.sequences,
                          [f"{place}-U {split}" for place, split in zip(self.places, self.splits)])
        self.train("deep_places.fasta", "deep_place.h5", task="localization", ranks=2)
        for name, values in parameters("deep_place.h5").items():
            numpy.testing.assert_array_equal(parameters("flip_place.h5")[name], values)
        code, text = run(1, "evaluate", "--task", "localization", "--head", "flip_place.h5", "--localization",
                         "deep_places.fasta", "--checkpoint", "short.h5")
        self.assertEqual(code, 0, text)
        code, text = run(1, "predict", "--task", "localization", "--head", "flip_place.h5", "--checkpoint", "short.h5",
                         "proteins.fasta", "--output", "flip_places_predicted")
        self.assertEqual(code, 0, text)
        with open("flip_places_predicted.localization.fasta") as file:
            for line in file:
                self.assertRegex(line, r"^>p\d+ \S+-U location=0\.\d+$")
        self.write_labels("moon.fasta", self.sequences, ["TARGET=Moon SET=train", *self.splits[1:]])
        text = self.train("moon.fasta", "bad.h5", task="localization", code=2, ranks=2)
        for words in ("moon.fasta:1: p0", "'Moon'", "Golgi.apparatus", "TARGET=Nucleus SET=train"):
            self.assertIn(words, text)

    # Proteins without vectors.

    def long_data(self):
        """The proteins, and behind them one that is too long for training and one for the test."""
        long = ["ACDEFGHIKL" * 5, "MNPQRSTVWY" * 6]
        ids, sequences = [*self.ids, "long1", "long2"], [*self.sequences, *long]
        write("with_long.fasta", fasta(zip(ids, sequences)))
        headers = [*zip(self.ids, self.splits), ("long1", "SET=train"), ("long2", "SET=test")]
        labels = [*self.labels, "HEC" * 16 + "HH", "HEC" * 20]
        write("long_labels.fasta", fasta((f"{name} {split}", text) for (name, split), text in zip(headers, labels)))
        write("long_places.fasta", fasta((f"{name} TARGET=Nucleus {split}", text)
                                         for (name, split), text in zip(headers, sequences)))
        return ids, sequences

    def assert_same_results(self, report, expected):
        """The same scores of every way to predict."""
        self.assertEqual(report["kinds"], expected["kinds"])

    def test_too_long_proteins_are_left_out(self):
        """Of training, test and every baseline alike, on any number of ranks: as if they were not in the files."""
        self.long_data()
        for ranks in (1, 2, 3):
            self.train("labels.fasta", "alone.h5", "--report", "alone.json", ranks=ranks)
            text = self.train("long_labels.fasta", "left.h5", "--proteins", "with_long.fasta", "--report", "left.json",
                              ranks=ranks)
            lines = self.warnings(text)
            self.assertEqual(len(lines), 1, lines)
            self.assertIn("2 proteins too long for the encoder are left out of training, validation and test: long1, "
                          "long2; --piece-length N takes long proteins in, with N of 40 or less", lines[0])
            self.assertNotIn("--too-long", text)
            left, alone = load_json("left.json"), load_json("alone.json")
            self.assertEqual(left["details"]["proteins_without_vectors"], 2)
            self.assertEqual(alone["details"]["proteins_without_vectors"], 0)
            self.assertEqual(left["details"]["test_proteins"], self.COUNT // 4)
            self.assert_same_results(left, alone)
            for name, values in parameters("alone.h5").items():
                numpy.testing.assert_array_equal(parameters("left.h5")[name], values, err_msg=name)
        evaluate = ("evaluate", "--task", "secondary_structure", "--head", "left.h5", "--three-state",
                    "long_labels.fasta", "--checkpoint", "short.h5", "--proteins", "with_long.fasta")
        code, text = run(2, *evaluate, "--report", "evaluated.json")
        self.assertEqual(code, 0, text)
        self.assertIn("are left out", text)
        evaluated = load_json("evaluated.json")
        self.assertEqual(evaluated["details"]["proteins_without_vectors"], 2)
        self.assertEqual(evaluated["kinds"]["three_state"]["results"][0]["confusion"],
                         left["kinds"]["three_state"]["results"][0]["confusion"])

        # The advice: pieces take them in; what is too long for a piece is said at once.
        text = self.train("long_labels.fasta", "taken.h5", "--proteins", "with_long.fasta", "--report", "taken.json",
                          "--piece-length", 40, "--no-baselines", ranks=2)
        self.assertEqual(self.warnings(text), [])
        taken = load_json("taken.json")
        self.assertEqual(taken["details"]["proteins_without_vectors"], 0)
        self.assertEqual(taken["details"]["test_proteins"], self.COUNT // 4 + 1)
        text = self.train("long_labels.fasta", "bad.h5", "--proteins", "with_long.fasta", "--piece-length", 41, code=2,
                          ranks=2)
        self.assertIn("--piece-length 40 or less", text)

    def test_embeddings_files_without_some_vectors(self):
        """A file of embed --too-long skip gives the same head as the encoder itself does."""
        self.long_data()
        code, text = run(2, "--checkpoint", "short.h5", "with_long.fasta", "--output", "skipped.h5", "--residues",
                         "float16", "--too-long", "skip", program=EMBED)
        self.assertEqual(code, 0, text)
        data = ("--proteins", "with_long.fasta")
        text = self.train("long_labels.fasta", "stored.h5", "--embeddings", "skipped.h5", *data, "--report", "stored.json",
                          ranks=2)
        lines = self.warnings(text)
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("2 proteins too long for the encoder are left out of training, validation and test: long1, "
                      "long2; --checkpoint PATH --proteins FILE --piece-length N, instead of --embeddings", lines[0])
        self.train("labels.fasta", "stored_alone.h5", "--embeddings", "skipped.h5", *data, "--report",
                   "stored_alone.json", ranks=2)
        self.assert_same_results(load_json("stored.json"), load_json("stored_alone.json"))
        text = self.train("long_places.fasta", "place.h5", "--embeddings", "skipped.h5", "--report", "place.json",
                          task="localization")
        self.assertIn("2 proteins too long", text)
        self.assertEqual(load_json("place.json")["details"]["test_proteins"], self.COUNT // 4)

        # Every reason that the file may give, and proteins embedded by windows, which have vectors.
        lengths = [len(labels) for labels in self.labels]
        status = [0] * self.COUNT
        for number, value in ((0, 2), (1, 1), (4, 3), (5, 5), (8, 4)):
            status[number] = value
            lengths[number] = 0 if value in (1, 2, 3) else lengths[number]
        vectors = numpy.random.default_rng(2).normal(size=(sum(lengths), 6)).astype(numpy.float32)
        vectors[sum(lengths[:5]):sum(lengths[:6])] = numpy.nan
        write_vectors("reasons.h5", self.ids, lengths, residues=vectors, status=status)
        text = self.train("labels.fasta", "reasons_head.h5", "--embeddings", "reasons.h5", "--report", "reasons.json",
                          ranks=2)
        for words in ("1 protein without residues is left out of training, validation and test: p1",
                      "1 protein too long for the encoder is left out of training, validation and test: p0;",
                      "1 protein with letters that are no residues is left out of training, validation and test: p4",
                      "1 protein whose vectors are not finite is left out of training, validation and test: p5;"):
            self.assertIn(words, text)
        details = load_json("reasons.json")["details"]
        self.assertEqual((details["proteins_without_vectors"], details["training_proteins"]), (4, 4))
        # Nothing left of a set.
        status = [2 if i % 4 == 3 else 0 for i in range(self.COUNT)]
        kept = [0 if value else len(labels) for value, labels in zip(status, self.labels)]
        write_vectors("no_test.h5", self.ids, kept, status=status,
                      residues=numpy.random.default_rng(2).normal(size=(sum(kept), 6)).astype(numpy.float32))
        evaluate = ("evaluate", "--task", "secondary_structure", "--head", "reasons_head.h5", "--three-state",
                    "labels.fasta", "--embeddings", "no_test.h5")
        code, text = run(2, *evaluate)
        self.assertEqual(code, 2, text)
        self.assertIn("has no protein of the test set that has vectors; choose another with --set", text)
        self.assertEqual(run(2, *evaluate, "--set", "train")[0], 0)
        self.assertIn("nothing to score", self.train("labels.fasta", "no_test_head.h5", "--embeddings", "no_test.h5"))
        # Nothing left at all.
        write_vectors("nothing.h5", self.ids, [0] * self.COUNT, residues=numpy.zeros((0, 6), dtype=numpy.float32),
                      status=[2] * self.COUNT)
        self.assertIn("it has no vectors",
                      self.train("labels.fasta", "bad.h5", "--embeddings", "nothing.h5", code=2, ranks=2))
        # An id that the file lacks is another matter: the wrong file, perhaps.
        write_vectors("fewer.h5", self.ids[1:], lengths[1:], residues=vectors, status=status[1:])
        text = self.train("labels.fasta", "bad.h5", "--embeddings", "fewer.h5", code=2, ranks=2)
        self.assertIn("fewer.h5 has no protein p0", text)
        # Validation proteins chosen by the program are chosen among those that are left.
        self.write_labels("unsplit.fasta", self.labels, ["SET=test" if i % 4 == 3 else "SET=train"
                                                         for i in range(self.COUNT)])
        train = [i for i in range(self.COUNT) if i % 4 != 3]
        for left in (2, 3):
            kept = train[:left]
            status = [2 if i in train and i not in kept else 0 for i in range(self.COUNT)]
            lengths = [0 if value else len(labels) for value, labels in zip(status, self.labels)]
            write_vectors("few.h5", self.ids, lengths, status=status, residues=numpy.random.default_rng(2).normal(
                size=(sum(lengths), 6)).astype(numpy.float32))
            self.train("unsplit.fasta", "few_head.h5", "--embeddings", "few.h5", "--report", "few.json", "--seed", left)
            details = load_json("few.json")["details"]
            self.assertEqual((details["training_proteins"], details["validation_proteins"]), (left - 1, 1))

    def test_prediction_of_long_proteins(self):
        """predict's three treatments: what the refusal advises works, and windows label every residue."""
        ids, sequences = self.long_data()
        self.train("labels.fasta", "long_head.h5", "--no-baselines")
        predict = ("predict", "--task", "secondary_structure", "--head", "long_head.h5", "--checkpoint", "short.h5",
                   "with_long.fasta", "--output")
        code, text = run(2, *predict, "refused")
        self.assertEqual(code, 2, text)
        self.assertIn("--too-long skip", text)
        for ranks in (1, 2):
            for way in ("skip", "window"):
                code, text = run(ranks, *predict, way, "--too-long", way)
                self.assertEqual(code, 0, text)
            with h5py.File("skip.h5") as skip, h5py.File("window.h5") as window:
                self.assertEqual(list(skip["status"][()]), [0] * self.COUNT + [2, 2])
                self.assertEqual(list(window["lengths"][()]), [len(sequence) for sequence in sequences])
                self.assertEqual(list(window["status"][()]), [0] * self.COUNT + [4, 4])
                rows = int(skip["offsets"][self.COUNT])
                numpy.testing.assert_array_equal(skip["three_state/probabilities"][()],
                                                 window["three_state/probabilities"][:rows])
                probabilities = window["three_state/probabilities"][rows:]
                self.assertEqual(len(probabilities), 110)
                numpy.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        self.assertEqual(sorted(name for name in os.listdir() if name.startswith(("refused", "window."))),
                         ["window.h5", "window.three_state.fasta"])

    def test_letters_that_are_no_residues(self):
        """Refused where the protein has labels, with what to write; of no matter where it has none."""
        sequences = [self.sequences[0][:3] + "J" + self.sequences[0][4:], *self.sequences[1:]]
        write("letters.fasta", fasta(zip(self.ids, sequences)))
        for baselines in ([], ["--no-baselines"]):
            text = self.train("labels.fasta", "bad.h5", "--proteins", "letters.fasta", *baselines, code=2, ranks=2)
            self.assertIn("letters.fasta:1: p0: 'J' at 4 is no residue; write X", text)
            self.assertNotIn("--invalid", text)
        write("letters.fasta", read("letters.fasta").decode().replace("J", "X"))
        self.train("labels.fasta", "letters.h5", "--proteins", "letters.fasta", "--no-baselines")
        write("letters.fasta", fasta([*zip(self.ids, self.sequences), ("other", "ACDJEF")]))
        self.train("labels.fasta", "letters.h5", "--proteins", "letters.fasta", "--report", "letters.json")
        self.train("labels.fasta", "plain.h5", "--report", "plain.json")
        self.assertEqual(load_json("letters.json")["kinds"], load_json("plain.json")["kinds"])

    def test_headers_alone(self):
        """Labels of localization may be headers alone, with the residues in --proteins; pieces, too."""
        self.long_data()
        text = read("long_places.fasta").decode()
        write("headers.fasta", "".join(line + "\n" for line in text.splitlines() if line.startswith(">")))
        for pieces in ([], ["--piece-length", 20]):
            for labels, output in (("headers.fasta", "headers.h5"), ("long_places.fasta", "both.h5")):
                self.train(labels, output, "--proteins", "with_long.fasta", "--report", output + ".json", *pieces,
                           task="localization", ranks=2)
            self.assertEqual(load_json("headers.h5.json")["kinds"], load_json("both.h5.json")["kinds"])

    def test_embeddings_files_of_another_kind(self):
        """What the messages say to give protalbert_embed makes a file that can be read."""
        self.write_labels("means.fasta", self.sequences, [f"TARGET=Nucleus {split}" for split in self.splits])

        def embed(*arguments):
            code, text = run(1, "--checkpoint", "short.h5", "proteins.fasta", "--output", "kind.h5", "--overwrite",
                             *arguments, program=EMBED)
            self.assertEqual(code, 0, text)

        for wrong, labels, task in ((("--residues", "none"), "labels.fasta", "secondary_structure"),
                                    (("--pool", "cls"), "means.fasta", "localization"),
                                    (("--layout", "per-protein", "--pool", "none"), "labels.fasta", "secondary_structure")):
            embed(*wrong)
            text = self.train(labels, "bad.h5", "--embeddings", "kind.h5", code=2, ranks=2, task=task)
            advice = re.search(r"embed with (--\S+ \S+)", text).group(1)
            embed(*advice.split())
            self.train(labels, "kind_head.h5", "--embeddings", "kind.h5", task=task)

    # Vectors that are no numbers.

    def test_vectors_that_are_not_finite(self):
        lengths = [len(labels) for labels in self.labels]
        vectors = numpy.random.default_rng(3).normal(size=(sum(lengths), 6)).astype(numpy.float32)
        for value, number in ((numpy.nan, 6), (numpy.inf, 7)):  # for validation, for the test
            bad = vectors.copy()
            bad[sum(lengths[:number]) + 2, 3] = value
            write_vectors("bad_vectors.h5", self.ids, lengths, residues=bad)
            text = self.train("labels.fasta", "bad.h5", "--embeddings", "bad_vectors.h5", code=2, ranks=2)
            self.assertIn(f"bad_vectors.h5: the vectors of protein p{number} are not finite", text)
        means = numpy.zeros((self.COUNT, 6), dtype=numpy.float32)
        means[0, 0] = numpy.nan
        write_vectors("bad_means.h5", self.ids, lengths, mean=means)
        self.write_labels("means.fasta", self.sequences, [f"TARGET=Nucleus {split}" for split in self.splits])
        self.assertIn("protein p0 ", self.train("means.fasta", "bad.h5", "--embeddings", "bad_means.h5", code=2,
                                                task="localization"))
        # Numbers so large that the loss is none.
        write_vectors("large.h5", self.ids, lengths, residues=numpy.sign(vectors) * numpy.float32(3e38))
        text = self.train("labels.fasta", "bad.h5", "--embeddings", "large.h5", "--no-baselines", code=1)
        self.assertIn("not finite", text)
        self.assertFalse(os.path.exists("bad.h5"))

    def test_vectors_beyond_float16(self):
        """The scratch file is float16: refused, and the advice (float32, --embeddings) works."""
        code, text = run(1, "make", "wide.h5", 3, 42, 1e6, program=REFERENCE)
        self.assertEqual(code, 0, text)
        text = self.train("labels.fasta", "bad.h5", encoder="wide.h5", code=2, ranks=2)
        self.assertIn("embed with --residues float32", text)
        self.assertFalse(os.path.exists("bad.h5"))
        code, text = run(1, "--checkpoint", "wide.h5", "proteins.fasta", "--output", "wide_vectors.h5", "--residues",
                         "float32", program=EMBED)
        self.assertEqual(code, 0, text)
        self.train("labels.fasta", "wide_head.h5", "--embeddings", "wide_vectors.h5", "--no-baselines")

    def test_prediction_of_what_is_not_finite(self):
        """Weights whose vectors overflow give no label, not the first class."""
        self.train("labels.fasta", "sound.h5", "--no-baselines")
        self.write_labels("sound_places.fasta", self.sequences, [f"TARGET=Nucleus {split}" for split in self.splits])
        self.train("sound_places.fasta", "sound_places.h5", "--no-baselines", task="localization")
        code, text = run(1, "make", "infinite.h5", 3, 42, 2e38, program=REFERENCE)
        self.assertEqual(code, 0, text)
        for task, head in (("secondary_structure", "sound.h5"), ("localization", "sound_places.h5")):
            for ranks in (1, 2):
                code, text = run(ranks, "predict", "--task", task, "--head", head, "--checkpoint", "infinite.h5",
                                 "proteins.fasta", "--output", "predicted")
                self.assertEqual(code, 0, text)
                self.assertEqual(text.count(f"{self.COUNT} proteins have vectors that are not finite"), 1, text)
                kind = "three_state" if task == "secondary_structure" else "location"
                with h5py.File("predicted.h5") as file:
                    self.assertEqual(list(file["status"][()]), [5] * self.COUNT)
                    self.assertTrue(numpy.isnan(file[kind]["probabilities"][()]).all())
                    self.assertTrue((file[kind]["classes"][()] == 255).all())

    # One call at a time at an output.

    def calls(self):
        """The three actions, what each holds, and how a second one is told of another place."""
        data = ("--task", "secondary_structure", "--three-state", "labels.fasta", "--checkpoint", "short.h5",
                "--proteins", "proteins.fasta")
        return [(("train", *data, "--epochs", "1", "--no-baselines", "--output", "busy.h5"), "busy.h5", "--output"),
                (("train", *data, "--epochs", "1", "--no-baselines", "--output", "other.h5", "--report", "busy.json"),
                 "busy.json", "--report"),
                (("evaluate", *data, "--head", "held.h5"), "held.h5.evaluate", "--report"),
                (("evaluate", *data, "--head", "held.h5", "--report", "scores.json"), "scores.json", "--report"),
                (("predict", "--task", "secondary_structure", "--head", "held.h5", "--checkpoint", "short.h5",
                  "proteins.fasta", "--output", "busy"), "busy.h5", "--output")]

    def test_another_call_at_work(self):
        """A second call is refused after ten seconds, on all ranks, and touches nothing; afterwards it works."""
        self.train("labels.fasta", "held.h5", "--no-baselines")
        processes, held = [], []
        for name in ("busy.h5", "busy.json", "held.h5.evaluate", "scores.json"):
            held.append(open(name + ".lock", "w"))  # as of another call
            fcntl.flock(held[-1], fcntl.LOCK_EX)
        before = sorted(os.listdir())
        for call, place, option in self.calls():
            processes.append(subprocess.Popen([*MPIRUN, "2", PROBE, *call], stdout=subprocess.PIPE,
                                              stderr=subprocess.STDOUT, text=True))
        for process, (call, place, option) in zip(processes, self.calls()):
            text = process.communicate(timeout=TIMEOUT)[0]
            self.assertEqual(process.returncode, 2, text)
            self.assertIn(f"another run is at work at {place}: ", text)
            self.assertIn(f"choose another {option}", text)
        self.assertEqual(sorted(os.listdir()), before)
        for file in held:
            file.close()
        # What a killed call leaves holds nobody up, and is gone afterwards.
        for call, place, option in self.calls():
            self.assertTrue(os.path.exists(place + ".lock") or "busy" in place)
            code, text = run(1, *call)
            self.assertEqual(code, 0, text)
            self.assertFalse(os.path.exists(place + ".lock"))

    def test_two_calls_at_once(self):
        """One waits for the other or is refused; the files are whole. Other outputs are other calls' business."""
        self.train("labels.fasta", "held.h5", "--no-baselines")
        predict = [*MPIRUN, "1", PROBE, "predict", "--task", "secondary_structure", "--head", "held.h5", "--checkpoint",
                   "short.h5", "proteins.fasta", "--output"]
        subprocess.run([*predict, "single"], check=True, capture_output=True, timeout=TIMEOUT)
        outputs = ("same", "same", "different")
        processes = [subprocess.Popen([*predict, output], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                     for output in outputs]
        for process in processes:
            text = process.communicate(timeout=TIMEOUT)[0]
            self.assertEqual(process.returncode, 0, text)  # each takes far less than ten seconds
        for output in ("same", "different"):
            self.assertEqual(read(output + ".three_state.fasta"), read("single.three_state.fasta"))
            with h5py.File(output + ".h5") as one, h5py.File("single.h5") as other:
                numpy.testing.assert_array_equal(one["three_state/probabilities"], other["three_state/probabilities"])
        self.assertEqual([name for name in os.listdir() if name.endswith((".lock", ".part"))], [])

    def test_a_killed_call_blocks_nobody(self):
        call = ["train", "--task", "secondary_structure", "--three-state", "labels.fasta", "--checkpoint", "short.h5",
                "--proteins", "proteins.fasta", "--no-baselines", "--output", "killed.h5"]
        process = subprocess.Popen([PROBE, *call, "--epochs", "1000000", "--patience", "1000000"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists("killed.h5.lock") and time.monotonic() < deadline:
            time.sleep(0.05)
        self.addCleanup(process.kill)
        with open("killed.h5.lock") as file, self.assertRaises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertTrue(os.path.exists("killed.h5.lock"))
        code, text = run(2, *call, "--epochs", 1)
        self.assertEqual(code, 0, text)
        self.assertEqual([name for name in os.listdir() if name.startswith("killed")], ["killed.h5"])

    def test_outputs_are_no_inputs(self):
        """A head or label file is not written over by what is computed from it."""
        self.train("labels.fasta", "kept.h5", "--no-baselines")
        head = read("kept.h5")
        write("kept_labels.fasta", read("labels.fasta").decode())
        os.makedirs("folder", exist_ok=True)
        shutil.copy("short.h5", "kept_encoder.h5")
        data = ("--task", "secondary_structure", "--three-state", "kept_labels.fasta", "--checkpoint",
                "kept_encoder.h5", "--proteins", "proteins.fasta")
        for call in (("predict", "--task", "secondary_structure", "--head", "kept.h5", "--checkpoint", "short.h5",
                      "proteins.fasta", "--output", "kept"),
                     ("evaluate", *data, "--head", "kept.h5", "--report", "folder/../kept.h5"),
                     ("train", *data, "--output", "kept_labels.fasta"),
                     ("train", *data, "--output", "new.h5", "--report", "./new.h5"),
                     ("train", *data, "--output", "kept_encoder.h5")):
            code, text = run(2, *call)
            self.assertEqual(code, 2, text)
            self.assertIn("choose another --", text)
        self.assertEqual(read("kept.h5"), head)

    # Text as other systems write it.

    def test_byte_order_marks_and_line_ends(self):
        """Labels, masks and proteins are read as prepare reads sequences: BOM, CRLF, old Macs' CR."""
        generator = random.Random(4)
        masks = ["".join(generator.choices("01", (1, 9), k=len(labels))) for labels in self.labels]
        write("mask.fasta", fasta(zip(self.ids, masks)))
        self.train("labels.fasta", "unix.h5", "--mask", "mask.fasta", "--report", "unix.json")
        plain = {name: read(name) for name in ("labels.fasta", "mask.fasta", "proteins.fasta")}
        changes = {"bom": lambda text: b"\xef\xbb\xbf" + text, "crlf": lambda text: text.replace(b"\n", b"\r\n"),
                   "mac": lambda text: text.replace(b"\n", b"\r"),
                   "bom_crlf": lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")}
        for how, change in changes.items():
            for changed in plain:
                with self.subTest(how=how, file=changed):
                    files = dict(zip(plain, plain))
                    files[changed] = f"{how}_{changed}"
                    with open(files[changed], "wb") as file:
                        file.write(change(plain[changed]))
                    self.train(files["labels.fasta"], "changed.h5", "--mask", files["mask.fasta"], "--proteins",
                               files["proteins.fasta"], "--report", "changed.json")
                    self.assertEqual(load_json("changed.json")["kinds"], load_json("unix.json")["kinds"])
                    # The encoder's input is read by another reader: its vectors must be the same, too.
                    for name, values in parameters("unix.h5").items():
                        numpy.testing.assert_array_equal(parameters("changed.h5")[name], values)


if __name__ == "__main__":
    unittest.main(verbosity=2)
