"""protalbert_probe where vectors are missing or no numbers: vectors.py BUILD_FOLDER, in a folder of its own."""

import os
import re
import unittest

import h5py
import numpy

from files import Files, fasta, load_json, parameters, read, write_vectors
from programs import EMBED, REFERENCE, run, write


class Vectors(Files):
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
                      "long2; protalbert_embed --too-long window takes long proteins in, and so does train with "
                      "--checkpoint, --proteins and --piece-length N", lines[0])
        self.train("labels.fasta", "stored_alone.h5", "--embeddings", "skipped.h5", *data, "--report",
                   "stored_alone.json", ranks=2)
        self.assert_same_results(load_json("stored.json"), load_json("stored_alone.json"))
        text = self.train("long_places.fasta", "place.h5", "--embeddings", "skipped.h5", "--report", "place.json",
                          task="localization")
        self.assertIn("2 proteins too long", text)
        self.assertEqual(load_json("place.json")["details"]["test_proteins"], self.COUNT // 4)

        # The advice.
        code, text = run(2, "--checkpoint", "short.h5", "with_long.fasta", "--output", "windows.h5", "--residues",
                         "float16", "--too-long", "window", program=EMBED)
        self.assertEqual(code, 0, text)
        text = self.train("long_labels.fasta", "windows_head.h5", "--embeddings", "windows.h5", *data, "--report",
                          "windows.json", ranks=2)
        self.assertEqual(self.warnings(text), [])
        self.assertEqual(load_json("windows.json")["details"]["test_proteins"], self.COUNT // 4 + 1)
        evaluate = ("evaluate", "--task", "secondary_structure", "--head", "windows_head.h5", "--three-state",
                    "long_labels.fasta", "--embeddings")
        code, text = run(1, *evaluate, "skipped.h5")
        self.assertEqual(code, 0, text)
        self.assertIn("are left out", text)
        code, text = run(1, *evaluate, "windows.h5")
        self.assertEqual((code, self.warnings(text)), (0, []), text)

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
        self.assertIn("those proteins have no vectors",
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
                self.assertEqual(code, 1, text)
                self.assertEqual(text.count(f"{self.COUNT} proteins have vectors that are not finite"), 1, text)
                kind = "three_state" if task == "secondary_structure" else "location"
                with h5py.File("predicted.h5") as file:
                    self.assertEqual(list(file["status"][()]), [5] * self.COUNT)
                    self.assertTrue(numpy.isnan(file[kind]["probabilities"][()]).all())
                    self.assertTrue((file[kind]["classes"][()] == 255).all())


if __name__ == "__main__":
    unittest.main(verbosity=2)
