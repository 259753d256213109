"""protalbert_probe on labels as people have them: inputs.py BUILD_FOLDER, in a folder of its own."""

import gzip
import os
import random
import re
import shlex
import subprocess
import unittest

import numpy

from files import Files, fasta, load_json, parameters, read, write_vectors
from programs import run, write

# FLIP's secondary structure and DeepLoc 1.0, beside the checkout or where the variable says; where they are not, the
# tests on them are skipped.
REAL = os.environ.get("PROTALBERT_LABELLED_DATA",
                      os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared", "data"))
STRUCTURE, LOCALIZATION = os.path.join(REAL, "secondary_structure"), os.path.join(REAL, "localization")


class Inputs(Files):
    def follow(self, line, output):
        """Carries out the shell command that a warning advises, as one would; its NEW is `output`."""
        command, name = re.search(r"replace (?:it|them): (.*) > NEW, for FILE (.*)$", line).groups()
        subprocess.run(f"{command.replace('FILE', shlex.quote(name))} > {output}", shell=True, check=True)

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
        self.write_labels("both.fasta", ["".join("-."[i % 2] if letter == "C" else letter
                                                 for i, letter in enumerate(labels)) for labels in self.labels])
        line = self.warnings(self.train("both.fasta", "coil.h5", "--no-baselines"))[0]
        self.assertIn('"-" and "." mean no label here', line)
        self.follow(line, "coil.fasta")
        self.assertEqual(read("coil.fasta"), read("labels.fasta"))
        with gzip.open("dash.fasta.gz", "wb") as file:
            file.write(read("dash.fasta"))
        write("mac.fasta", read("dash.fasta").decode().replace("\n", "\r"))
        for name in "dash.fasta.gz", "mac.fasta":
            self.follow(self.warnings(self.train(name, "coil.h5", "--no-baselines"))[0], "coil.fasta")
            self.assertEqual(read("coil.fasta"), read("labels.fasta"))
        # A blank is no letter, which is said before the lengths differ.
        self.write_labels("blank.fasta", [labels.replace("C", " ") for labels in self.labels])
        self.assertIn("has blanks between its labels, which count nothing; where they stand for coil, write C",
                      self.train("blank.fasta", "coil.h5", "--no-baselines", code=2))

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
        for words in ("loop.fasta:", "label 'L'", "HEC, in capitals (C: coil, loop, all that is left)"):
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

    # Text as other systems write it.

    def test_proteins_from_a_pipe(self):
        """They are read several times, which a pipe does not give."""
        os.mkfifo("pipe.fasta")
        for path in "pipe.fasta", "-":
            text = self.train("labels.fasta", "bad.h5", "--proteins", path, code=2)
            self.assertIn("write them into a file and name that", text)
        os.remove("pipe.fasta")

    def test_text_before_the_first_header(self):
        """Nothing is left out: not a first record whose '>' stands behind a blank."""
        labels = read("labels.fasta").decode()
        for before in " ", "\t", "words\n":
            write("before.fasta", before + labels)
            text = self.train("before.fasta", "bad.h5", code=2)
            self.assertIn("before.fasta", text)
            self.assertRegex(text, "before.fasta:1: .*where the first header is expected|is neither FASTA")

    def test_byte_order_marks_and_line_ends(self):
        """Labels, masks and proteins are read as prepare reads sequences: BOM, CRLF, old Macs' CR."""
        generator = random.Random(4)
        masks = ["".join(generator.choices("01", (1, 9), k=len(labels))) for labels in self.labels]
        write("mask.fasta", fasta(zip(self.ids, masks)))
        self.train("labels.fasta", "unix.h5", "--mask", "mask.fasta", "--no-baselines", "--report", "unix.json")
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
                               files["proteins.fasta"], "--no-baselines", "--report", "changed.json")
                    self.assertEqual(load_json("changed.json")["kinds"], load_json("unix.json")["kinds"])
                    # The encoder's input is read by another reader: its vectors must be the same, too.
                    for name, values in parameters("unix.h5").items():
                        numpy.testing.assert_array_equal(parameters("changed.h5")[name], values)


if __name__ == "__main__":
    unittest.main(verbosity=2)
