"""protalbert_probe from outside: programs.py BUILD_FOLDER, in a folder of its own."""

import json
import os
import random
import shlex
import subprocess
import sys
import unittest

import h5py
import numpy

BUILD = os.path.abspath(sys.argv.pop(1))
PROBE = os.path.join(BUILD, "protalbert_probe")
EMBED = os.path.join(BUILD, "protalbert_embed")
REFERENCE = os.path.join(BUILD, "tests", "embed_reference")
JOBSCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "jobscripts")
MPIRUN = shlex.split(os.environ.get("MPIRUN", "mpirun -n"))
TIMEOUT = 120  # seconds; nothing takes a tenth of it

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def run(ranks, *arguments, program=PROBE):
    done = subprocess.run([*MPIRUN, str(ranks), program, *map(str, arguments)], capture_output=True, text=True,
                          timeout=TIMEOUT)
    return done.returncode, done.stdout + done.stderr


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def structure_of(sequence):
    """A rule that a window of three residues knows: a helix behind A..G, a strand behind H..N, else other."""
    before = "A" + sequence[:-1]
    return "".join("H" if letter in "ACDEFG" else "E" if letter in "HIKLMN" else "C" for letter in before)


class Probe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for seed, name in ((1, "small.h5"), (2, "other.h5")):
            code, output = run(1, "make", name, seed, program=REFERENCE)
            assert code == 0, output
        generator = random.Random(5)
        cls.ids = [f"protein{i}" for i in range(90)]
        cls.sequences = ["".join(generator.choices(LETTERS, k=generator.randint(1, 120))) for _ in cls.ids]
        cls.sets = ["SET=test VALIDATION=False" if i % 3 == 0 else f"SET=train VALIDATION={i % 7 == 0}"
                    for i in range(90)]
        cls.masks = ["".join(generator.choices("01", (1, 9), k=len(sequence))) for sequence in cls.sequences]
        cls.write_labels("proteins.fasta", cls.sequences, [""] * 90)
        cls.write_labels("labels.fasta", [structure_of(sequence) for sequence in cls.sequences], cls.sets)
        cls.write_labels("mask.fasta", cls.masks, [""] * 90)
        cls.write_labels("disorder.fasta", ["".join("01"[letter in "EKP"] for letter in sequence)
                                            for sequence in cls.sequences], [""] * 90)
        cls.locations = [("Nucleus-S" if sequence.count("A") * 20 > len(sequence) else "Cell.membrane-M")
                         + (" test" if i % 4 == 0 else "") for i, sequence in enumerate(cls.sequences)]
        cls.locations[2] = "Cytoplasm-Nucleus-U"
        cls.write_labels("locations.fasta", cls.sequences, cls.locations)

    @staticmethod
    def write_labels(path, texts, headers, ids=None):
        ids = ids or Probe.ids
        write(path, "".join(f">{name} {header}\n{text}\n" for name, header, text in zip(ids, headers, texts)))

    def call(self, ranks, action, *arguments, task="secondary_structure", code=0):
        result, text = run(ranks, action, "--task", task, *arguments)
        self.assertEqual(result, code, text)
        return text

    def train(self, ranks, output, *arguments, epochs=4, code=0):
        return self.call(ranks, "train", "--three-state", "labels.fasta", "--disorder", "disorder.fasta", "--mask",
                         "mask.fasta", "--checkpoint", "small.h5", "--proteins", "proteins.fasta", "--epochs",
                         epochs, "--batch", 8, "--learning-rate", 0.01, "--output", output, "--report", output + ".json",
                         *arguments, code=code)

    def refused(self, words, action, *arguments, task="secondary_structure"):
        text = self.call(2, action, *arguments, task=task, code=2)
        self.assertEqual(text.count("error: "), 1, text)
        for word in words:
            self.assertIn(word, text)

    def test_structure_end_to_end_and_ranks(self):
        """Any number of ranks trains the same head to rounding; evaluate and predict agree with train."""
        heads, reports = [], []
        for ranks in (1, 2, 3):
            text = self.train(ranks, f"head{ranks}.h5", *([] if ranks == 1 else ["--no-baselines"]))
            with h5py.File(f"head{ranks}.h5") as file:
                self.assertEqual(file.attrs["format"], "protalbert head")
                heads.append({name: file["parameters"][name][()] for name in file["parameters"]})
            with open(f"head{ranks}.h5.json") as file:
                reports.append(json.load(file))
        self.assertEqual(heads[0]["hidden.weight"].shape, (32, 64, 7))
        self.assertEqual(set(heads[0]), {f"{layer}.{part}" for layer in ("hidden", "three_state", "disorder")
                                         for part in ("weight", "bias")})
        for head in heads[1:]:
            for name, values in heads[0].items():
                # Sums over ranks add in another order; Adam makes a part of a step of 0.01 of that.
                numpy.testing.assert_allclose(head[name], values, rtol=0, atol=2e-3, err_msg=name)
        self.assertEqual(sorted(name for name in os.listdir() if name.startswith("head1.h5")),
                         ["head1.h5", "head1.h5.json"], "scratch files are removed")

        results = reports[0]["kinds"]["three_state"]["results"]
        self.assertEqual([result["name"] for result in results],
                         ["encoder", "one-hot residues", "untrained encoder", "majority class"])
        test = [i for i in range(90) if i % 3 == 0]
        labels = "".join(structure_of(self.sequences[i])[r] for i in test for r in range(len(self.sequences[i]))
                         if self.masks[i][r] == "1")
        self.assertEqual(results[0]["labels"], len(labels))
        self.assertEqual([sum(row) for row in results[0]["confusion"]], [labels.count(letter) for letter in "HEC"])
        # The mask is of structure alone.
        self.assertEqual(reports[0]["kinds"]["disorder"]["results"][0]["labels"],
                         sum(len(self.sequences[i]) for i in test))
        for words in ("three-state structure", "Matthews", "recall", "30 proteins"):
            self.assertIn(words, self.call(1, "evaluate", "--head", "head1.h5", "--three-state", "labels.fasta",
                                           "--disorder", "disorder.fasta", "--mask", "mask.fasta", "--checkpoint",
                                           "small.h5", "--proteins", "proteins.fasta", "--report", "evaluate.json"))
        with open("evaluate.json") as file:
            evaluated = json.load(file)["kinds"]["three_state"]["results"][0]
        self.assertEqual(evaluated["confusion"], results[0]["confusion"])

        predictions = []
        for ranks in (1, 2):
            self.call(ranks, "predict", "--head", "head1.h5", "--checkpoint", "small.h5", "proteins.fasta", "--output",
                      f"predicted{ranks}", "--batch-tokens", 500)
            with h5py.File(f"predicted{ranks}.h5") as file:
                predictions.append({name: file[name][()] for name in ("ids", "offsets", "three_state/probabilities",
                                                                      "three_state/classes", "disorder/classes")})
        for name, values in predictions[0].items():
            numpy.testing.assert_array_equal(predictions[1][name], values, err_msg=name)
        probabilities = predictions[0]["three_state/probabilities"]
        numpy.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        numpy.testing.assert_array_equal(probabilities.argmax(axis=1), predictions[0]["three_state/classes"])
        with open("predicted1.three_state.fasta") as file:
            strings = {part.split("\n", 1)[0]: part.split("\n", 1)[1].replace("\n", "")
                       for part in file.read().split(">")[1:]}
        self.assertEqual(list(strings), self.ids)
        self.assertEqual([len(text) for text in strings.values()], [len(text) for text in self.sequences])
        right = sum(strings[self.ids[i]][r] == structure_of(self.sequences[i])[r] for i in test
                    for r in range(len(self.sequences[i])) if self.masks[i][r] == "1")
        # Vectors went through half precision on the way to train's scores: a few near ties may fall otherwise.
        self.assertAlmostEqual(right / len(labels), results[0]["accuracy"], delta=0.005)
        subprocess.run([sys.executable, os.path.join(JOBSCRIPTS, "plot_confusion.py"), "head1.h5.json", "--output",
                        "confusion.png"], check=True, capture_output=True)
        with open("confusion.png", "rb") as file:
            self.assertEqual(file.read(4), b"\x89PNG")

    def test_what_can_be_learned_is_learned(self):
        """The labels follow from the residue before, which one-hot residues and any encoder tell."""
        self.train(2, "learned.h5", "--patience", 40, epochs=40)
        with open("learned.h5.json") as file:
            results = {result["name"]: result for result in json.load(file)["kinds"]["three_state"]["results"]}
        self.assertGreater(results["one-hot residues"]["accuracy"], 0.95)
        for name in ("encoder", "untrained encoder"):
            # Random weights mix the residues: not all of the rule is found in 40 epochs of 7 steps.
            self.assertGreater(results[name]["accuracy"], results["majority class"]["accuracy"] + 0.1, name)

    def test_stops_when_the_validation_loss_does(self):
        """Training ends `patience` epochs after the best, and that one's head is kept."""
        text = self.train(1, "patient.h5", "--patience", 2, "--no-baselines", epochs=500)
        with open("patient.h5.json") as file:
            result = json.load(file)["kinds"]["three_state"]["results"][0]
        losses = [float(line.split("validation")[1].split()[0]) for line in text.splitlines()
                  if line.startswith("encoder, epoch")]
        best = result["best_epoch"]
        self.assertLess(result["epochs"], 500, "it stopped by itself")
        self.assertEqual((result["epochs"], len(losses)), (best + 2, best + 2))
        # Printed with four digits.
        self.assertLessEqual(losses[best - 1], min(losses) + 1e-4)
        self.train(1, "best.h5", "--no-baselines", epochs=best)
        with h5py.File("patient.h5") as one, h5py.File("best.h5") as other:
            for name in one["parameters"]:
                numpy.testing.assert_array_equal(one["parameters"][name], other["parameters"][name], err_msg=name)

    def test_embeddings_file_and_checkpoint_give_the_same_head(self):
        code, text = run(2, "--checkpoint", "small.h5", "proteins.fasta", "--output", "vectors.h5", "--residues",
                         "float16", program=EMBED)
        self.assertEqual(code, 0, text)
        self.train(1, "computed.h5", "--no-baselines")
        self.call(1, "train", "--three-state", "labels.fasta", "--disorder", "disorder.fasta", "--mask", "mask.fasta",
                  "--embeddings", "vectors.h5", "--epochs", 4, "--batch", 8, "--learning-rate", 0.01, "--output",
                  "stored.h5", "--no-baselines")
        with h5py.File("computed.h5") as one, h5py.File("stored.h5") as other:
            for name in one["parameters"]:
                numpy.testing.assert_allclose(one["parameters"][name], other["parameters"][name], rtol=0, atol=2e-3)

    def test_pieces(self):
        """An encoder of 40 positions labels proteins of up to 120 residues in pieces; the head remembers them."""
        code, text = run(1, "make", "short.h5", 3, 40, program=REFERENCE)
        self.assertEqual(code, 0, text)
        data = ("--three-state", "labels.fasta", "--checkpoint", "short.h5", "--proteins", "proteins.fasta")
        long = sum(len(sequence) > 38 for sequence in self.sequences)
        self.assertIn(f"{long} proteins too long", self.call(2, "train", *data, "--output", "whole.h5", "--epochs", 1,
                                                             "--no-baselines"))
        self.call(2, "train", *data, "--output", "pieces.h5", "--piece-length", 30, "--epochs", 4, "--batch", 8,
                  "--learning-rate", 0.01, "--report", "pieces.json", "--no-baselines")
        with open("pieces.json") as file:
            accuracy = json.load(file)["kinds"]["three_state"]["results"][0]["accuracy"]
        self.call(2, "predict", "--head", "pieces.h5", "--checkpoint", "short.h5", "proteins.fasta", "--output", "cut",
                  "--batch-tokens", 200)
        with h5py.File("cut.h5") as file:
            offsets, classes = file["offsets"][()].astype(int), file["three_state/classes"][()]
        right = [("HEC"[classes[offsets[i] + r]] == letter) for i in range(0, 90, 3)
                 for r, letter in enumerate(structure_of(self.sequences[i]))]
        self.assertAlmostEqual(sum(right) / len(right), accuracy, delta=0.005)
        self.call(1, "train", "--localization", "locations.fasta", "--checkpoint", "short.h5", "--output", "located.h5",
                  "--piece-length", 30, "--epochs", 2, "--no-baselines", "--report", "located.json",
                  task="localization")
        self.call(1, "predict", "--head", "located.h5", "--checkpoint", "short.h5", "proteins.fasta", "--output",
                  "places", task="localization")
        with open("located.json") as file:
            result = json.load(file)["kinds"]["membrane"]["results"][0]
        with h5py.File("places.h5") as file:
            self.assertTrue(numpy.isfinite(file["membrane/probabilities"][()]).all())
        self.assertEqual(result["labels"], 23)

    def test_localization(self):
        text = self.call(2, "train", "--localization", "locations.fasta", "--checkpoint", "small.h5", "--output",
                         "location_head.h5", "--epochs", 30, "--learning-rate", 0.01, "--report", "location.json",
                         task="localization")
        for words in ("Q10", "Q2", "Matthews", "Cell.membrane"):
            self.assertIn(words, text)
        with open("location.json") as file:
            kinds = json.load(file)["kinds"]
        # Cytoplasm-Nucleus is none of the ten, U is neither.
        self.assertEqual(kinds["location"]["results"][0]["labels"], 23)
        # The label is a count of letters, which the mean of one-hot residues holds.
        ways = {result["name"]: result for result in kinds["membrane"]["results"]}
        self.assertGreater(ways["one-hot residues"]["accuracy"], 0.6)
        with h5py.File("location_head.h5") as file:
            self.assertEqual(file["parameters/hidden.weight"].shape, (32, 64))
        write("one.fasta", ">new\nMKTAYIAKQR\n>empty\n>last\nACDEF\n")
        self.call(2, "predict", "--head", "location_head.h5", "--checkpoint", "small.h5", "one.fasta", "--output",
                  "one", task="localization")
        with h5py.File("one.h5") as file:
            self.assertEqual(file["location/probabilities"].shape, (3, 10))
            numpy.testing.assert_allclose(file["location/probabilities"][()][[0, 2]].sum(axis=1), 1, atol=1e-5)
            self.assertTrue(numpy.isnan(file["location/probabilities"][1]).all())
            self.assertEqual(list(file["status"]), [0, 1, 0])
        with open("one.localization.fasta") as file:
            lines = file.read().splitlines()
        self.assertEqual([line.split()[0] for line in lines], [">new", ">empty", ">last"])
        self.assertRegex(lines[0], r"^>new \S+-[MS] location=0\.\d+ membrane=\d\.\d+$")
        self.assertEqual(lines[1], ">empty Unknown-U")

    def test_bad_input(self):
        base = ("--checkpoint", "small.h5", "--proteins", "proteins.fasta", "--output", "bad.h5")
        labels = [structure_of(sequence) for sequence in self.sequences]
        self.write_labels("shorter.fasta", [labels[0], labels[1][:-1], *labels[2:]], self.sets)
        self.refused(["protein1", "proteins.fasta"], "train", "--three-state", "shorter.fasta", *base)
        self.refused(["protein1", "mask.fasta"], "train", "--three-state", "shorter.fasta", "--mask", "mask.fasta",
                     *base)
        self.write_labels("more.fasta", [*labels, "HEC"], [*self.sets, "SET=train"], [*self.ids, "stranger"])
        self.refused(["stranger", "proteins.fasta"], "train", "--three-state", "more.fasta", *base)
        self.write_labels("letters.fasta", ["Q" * len(labels[0]), *labels[1:]], self.sets)
        self.refused(["letters.fasta:1", "'Q'", "protein0"], "train", "--three-state", "letters.fasta", *base)
        self.write_labels("sets.fasta", labels, ["SET=holdout", *self.sets[1:]])
        self.refused(["sets.fasta:1", "SET=holdout"], "train", "--three-state", "sets.fasta", *base)
        self.write_labels("twice.fasta", labels, self.sets, ["protein5", *self.ids[1:]])
        self.refused(["twice.fasta:11", "protein5"], "train", "--three-state", "twice.fasta", *base)
        self.write_labels("nowhere.fasta", self.sequences, ["Moon-S", *self.locations[1:]])
        self.refused(["nowhere.fasta:1", "Moon"], "train", "--localization", "nowhere.fasta", "--checkpoint",
                     "small.h5", "--output", "bad.h5", task="localization")
        self.refused(["--three-state"], "train", *base)
        self.refused(["--embeddings"], "train", "--three-state", "labels.fasta", "--output", "bad.h5")
        self.refused(["nothing.h5"], "predict", "--head", "nothing.h5", "--checkpoint", "small.h5", "proteins.fasta",
                     "--output", "bad")
        write("deck.toml", "learning_rat = 1\n")
        self.refused(["learning_rat", "learning_rate"], "train", "--three-state", "labels.fasta", "--deck", "deck.toml", *base)
        self.assertEqual([name for name in os.listdir() if name.startswith("bad")], [])

    def test_head_refuses_another_encoder_and_damage(self):
        generator = numpy.random.default_rng(1)
        lengths = numpy.array([len(sequence) for sequence in self.sequences], dtype=numpy.uint64)
        with h5py.File("vectors16.h5", "w") as file:
            file.attrs.update({"format": "protalbert embeddings", "version": 1, "config": "{}"})
            file.attrs["checkpoint_hash"] = numpy.uint64(1)
            file["ids"] = numpy.array(self.ids, dtype="S12")
            file["lengths"], file["status"] = lengths, numpy.zeros(90, dtype=numpy.uint8)
            file["offsets"] = numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.uint64)
            file["residues"] = generator.normal(size=(int(lengths.sum()), 16)).astype(numpy.float32)
        self.call(1, "train", "--three-state", "labels.fasta", "--embeddings", "vectors16.h5", "--epochs", 1, "--output",
                  "narrow.h5")
        self.refused(["narrow.h5", "16 elements", "has 64"], "predict", "--head", "narrow.h5", "--checkpoint",
                     "small.h5", "proteins.fasta", "--output", "refused")
        with open("narrow.h5", "r+b") as file:
            file.seek(os.path.getsize("narrow.h5") // 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))
        self.refused(["narrow.h5"], "predict", "--head", "narrow.h5", "--checkpoint", "small.h5", "proteins.fasta",
                     "--output", "refused")
        self.train(1, "narrow.h5", "--no-baselines", epochs=1)
        self.refused(["secondary_structure", "narrow.h5"], "predict", "--head", "narrow.h5", "--checkpoint", "small.h5",
                     "proteins.fasta", "--output", "refused", task="localization")
        # Another encoder of the same sizes: a warning, for the predictions mean little.
        self.assertIn("other weights", self.call(1, "evaluate", "--head", "narrow.h5", "--three-state", "labels.fasta",
                                                 "--checkpoint", "other.h5", "--proteins", "proteins.fasta"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
