"""Proteins longer than the model's position table, by windows: windows.py BUILD_FOLDER, in a folder of its own."""

import json
import os
import random
import signal
import subprocess
import time
import unittest

import h5py
import numpy

import programs
from programs import EMBED, REFERENCE, TIMEOUT, empty_own_folder, read, run, write_fasta

PROBE = os.path.join(programs.BUILD, "protalbert_probe")
POSITIONS = 42
WINDOW = POSITIONS - 2
LENGTHS = (1, 39, 40, 41, 42, 59, 60, 61, 79, 80, 81, 100, 119, 120, 400, 1234)


def starts(length, window):
    """First residues of the windows: the fewest that overlap by half or more, spread evenly."""
    if length <= window:
        return [0]
    count = 2
    while max(numpy.diff([(length - window) * k // (count - 1) for k in range(count)])) > window - window // 2:
        count += 1
    return [(length - window) * k // (count - 1) for k in range(count)]


def blend(length, window, vectors):
    """[length, H] in float64 from those of the windows, [window, H] each."""
    begins = starts(length, window)
    sums = numpy.zeros((length, vectors[0].shape[1]))
    weights = numpy.zeros((length, 1))
    for k, (first, rows) in enumerate(zip(begins, vectors)):
        place = numpy.arange(len(rows))
        left = numpy.full(len(rows), numpy.inf) if k == 0 else place + 1.0
        right = numpy.full(len(rows), numpy.inf) if k + 1 == len(begins) else len(rows) - place
        distance = numpy.minimum(numpy.minimum(left, right), 1e9)[:, None]
        sums[first : first + len(rows)] += distance * rows.astype(numpy.float64)
        weights[first : first + len(rows)] += distance
    return sums / weights


class Windows(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_own_folder()
        for name, positions in (("model.h5", POSITIONS), ("tiny.h5", 5), ("one.h5", 3), ("none.h5", 2)):
            code, output = run(1, "make", name, 1, positions, program=REFERENCE)
            assert code == 0, output
        generator = random.Random(6)
        cls.proteins = [(f"length{n}", "".join(generator.choices("ACDEFGHIKLMNPQRSTVWY", k=n))) for n in LENGTHS]
        generator.shuffle(cls.proteins)
        cls.proteins.insert(5, ("empty", ""))
        write_fasta("proteins.fasta", cls.proteins)
        cls.lengths = [len(sequence) for _, sequence in cls.proteins]
        cls.status = [1 if n == 0 else 4 if n > WINDOW else 0 for n in cls.lengths]
        cls.embed("whole.h5")
        cls.whole = read("whole.h5")

    @staticmethod
    def embed(output, *options, ranks=1, threads=1, checkpoint="model.h5", inputs=("proteins.fasta",), tokens=300,
              code=0):
        result, text = run(ranks, "--checkpoint", checkpoint, *inputs, "--output", output, "--device", "cpu",
                           "--batch-tokens", tokens, "--too-long", "window", *options, OMP_NUM_THREADS=str(threads))
        assert result == code, text
        return text

    def of(self, data, name):
        """residues, mean, cls of a protein."""
        i = [identifier.decode() for identifier in data["ids"]].index(name)
        return data["residues"][data["offsets"][i] : data["offsets"][i + 1]], data["mean"][i], data["cls"][i]

    def compare(self, path, expected=None):
        data = read(path)
        self.assertEqual(set(data), set(expected or self.whole))
        for name, values in (expected or self.whole).items():
            numpy.testing.assert_array_equal(data[name], values, err_msg=f"{path}: {name}")

    def check_blend(self, data, checkpoint, window, proteins):
        """Against windows that are embedded as proteins of their own, blended in float64: what the program adds in
        float32 is rounded once for each of up to four windows, and once more at the end."""
        cut = [(f"{name}.{k}", sequence[first : first + window])
               for name, sequence in proteins if sequence for k, first in enumerate(starts(len(sequence), window))]
        write_fasta("cut.fasta", cut)
        code, text = run(1, "--checkpoint", checkpoint, "cut.fasta", "--output", "cut.h5", "--device", "cpu",
                         "--overwrite")
        self.assertEqual(code, 0, text)
        pieces = read("cut.h5")
        names = {name.decode(): i for i, name in enumerate(pieces["ids"])}
        rounding = 5 * 2.0**-24 * abs(pieces["residues"]).max()
        for name, sequence in proteins:
            if not sequence:
                continue
            own = [names[f"{name}.{k}"] for k in range(len(starts(len(sequence), window)))]
            rows = [pieces["residues"][pieces["offsets"][i] : pieces["offsets"][i + 1]] for i in own]
            expected = blend(len(sequence), window, rows)
            residues, mean, cls = self.of(data, name)
            numpy.testing.assert_allclose(residues, expected, rtol=0, atol=rounding, err_msg=name)
            numpy.testing.assert_allclose(mean, expected.mean(axis=0), rtol=0, atol=rounding, err_msg=name)
            numpy.testing.assert_allclose(cls, pieces["cls"][own].astype(float).mean(axis=0), rtol=0, atol=rounding,
                                          err_msg=name)

    def test_vectors_are_the_blend_of_the_windows(self):
        self.check_blend(self.whole, "model.h5", WINDOW, self.proteins)
        # Windows differ where they overlap, so that the blend is one.
        rows = read("cut.h5")
        first, second = self.of(rows, "length41.0")[0], self.of(rows, "length41.1")[0]
        self.assertGreater(abs(first[1:] - second[:-1]).max(), 0.1)

    def test_tables(self):
        self.assertEqual([name.decode() for name in self.whole["ids"]], [name for name, _ in self.proteins])
        numpy.testing.assert_array_equal(self.whole["status"], self.status)
        numpy.testing.assert_array_equal(self.whole["lengths"], self.lengths)
        numpy.testing.assert_array_equal(self.whole["offsets"], numpy.concatenate([[0], numpy.cumsum(self.lengths)]))
        self.assertEqual(numpy.isnan(self.whole["mean"]).all(axis=1).sum(), 1)
        code, text = run(1, "checksums", "whole.h5", program=REFERENCE)
        self.assertEqual(code, 0, text)

    def test_proteins_that_fit_are_untouched(self):
        fits = [protein for protein in self.proteins if len(protein[1]) <= WINDOW]
        write_fasta("fits.fasta", fits)
        code, text = run(1, "--checkpoint", "model.h5", "fits.fasta", "--output", "fits.h5", "--device", "cpu",
                         "--batch-tokens", 70)
        self.assertEqual(code, 0, text)
        plain = read("fits.h5")
        for name, sequence in fits:
            if sequence:
                for own, other in zip(self.of(self.whole, name), self.of(plain, name)):
                    numpy.testing.assert_array_equal(own, other, err_msg=name)
        # Where all fit, the option changes nothing.
        self.embed("fits_window.h5", inputs=("fits.fasta",), tokens=70)
        self.compare("fits_window.h5", plain)
        text = self.embed("fits.h5", inputs=("fits.fasta",), tokens=70)
        self.assertIn("nothing to do", text)

    def test_ranks_batches_and_company_change_nothing(self):
        for ranks, tokens, threads in ((1, 1, 1), (2, 300, 1), (3, 300, 1), (2, 1, 2), (3, 85, 1), (1, 1000, 3),
                                       (2, 100_000, 2)):
            with self.subTest(ranks=ranks, tokens=tokens, threads=threads):
                self.embed("other.h5", "--overwrite", ranks=ranks, tokens=tokens, threads=threads)
                self.compare("other.h5")
        for name in ("length41", "length1234"):
            write_fasta("alone.fasta", [protein for protein in self.proteins if protein[0] == name])
            self.embed("alone.h5", "--overwrite", inputs=("alone.fasta",))
            for own, other in zip(self.of(read("alone.h5"), name), self.of(self.whole, name)):
                numpy.testing.assert_array_equal(own, other, err_msg=name)

    def test_kinds_of_vectors(self):
        self.embed("half.h5", "--residues", "float16", "--pool", "cls", ranks=2)
        half = read("half.h5")
        numpy.testing.assert_array_equal(half["residues"], self.whole["residues"].astype(numpy.float16))
        numpy.testing.assert_array_equal(half["cls"], self.whole["cls"])
        self.assertNotIn("mean", half)
        self.embed("none.h5.out", "--residues", "none", ranks=2)
        for name in ("mean", "cls", "status"):
            numpy.testing.assert_array_equal(read("none.h5.out")[name], self.whole[name])
        self.embed("bare.h5", "--pool", "none", ranks=3)
        numpy.testing.assert_array_equal(read("bare.h5")["residues"], self.whole["residues"])
        text = self.embed("rounded.h5", "--precision", "bfloat16")
        self.assertIn("longer proteins embedded by windows of 40 residues", text)

    def test_per_protein_layout(self):
        self.embed("each.h5", "--layout", "per-protein", ranks=2)
        self.embed("eachmean.h5", "--layout", "per-protein", "--pool", "mean", ranks=3)
        with h5py.File("each.h5") as each, h5py.File("eachmean.h5") as means:
            for (name, sequence), status in zip(self.proteins, self.status):
                self.assertEqual(each[name].attrs.get("status", 0), status)
                self.assertEqual(means[name].attrs.get("status", 0), status)
                residues, mean, _ = self.of(self.whole, name)
                numpy.testing.assert_array_equal(each[name][()], residues)
                numpy.testing.assert_array_equal(means[name][()], mean)

    def test_small_tables(self):
        short = [protein for protein in self.proteins if 0 < len(protein[1]) <= 60]
        write_fasta("short.fasta", short)
        for checkpoint, window in (("tiny.h5", 3), ("one.h5", 1)):
            self.embed("small.h5", "--overwrite", checkpoint=checkpoint, inputs=("short.fasta",), tokens=50, ranks=2)
            self.check_blend(read("small.h5"), checkpoint, window, short)
        text = self.embed("never.h5", checkpoint="none.h5", code=2)
        self.assertIn("position table holds no residue", text)

    def test_killed_job_continues(self):
        generator = random.Random(7)
        many = [(f"many{i}", "".join(generator.choices("ACDEFGHIKL", k=generator.randint(30, 400)))) for i in range(60)]
        write_fasta("many.fasta", many)
        self.embed("many.h5", inputs=("many.fasta",))
        process = subprocess.Popen([EMBED, "--checkpoint", "model.h5", "many.fasta", "--output", "killed.h5", "--device",
                                    "cpu", "--batch-tokens", "300", "--too-long", "window"], stdout=subprocess.DEVNULL,
                                   env={**os.environ, "PROTALBERT_SLOW_WRITE": "1000000"})
        deadline = time.time() + TIMEOUT
        while time.time() < deadline and process.poll() is None and programs.Embed.batches_done("killed.h5.part") < 2:
            time.sleep(0.02)
        self.assertIsNone(process.poll(), "it ended before it could be killed")
        process.send_signal(signal.SIGKILL)
        process.wait()
        text = self.embed("killed.h5", inputs=("many.fasta",), ranks=2)
        self.assertIn("continuing", text)
        self.compare("killed.h5", read("many.h5"))

    def test_memory_is_bounded(self):
        """A protein of 45,000 residues takes room for its vectors, and beside that no more than a short one."""
        with open(EMBED, "rb") as program:
            if b"__asan_init" in program.read():
                self.skipTest("the address sanitizer keeps what is freed")

        def peak(length):
            write_fasta("long.fasta", [("long", "ACDEFGHIKLMNPQRSTVWY"[: min(20, length)] * max(1, length // 20))])
            command = [EMBED, "--checkpoint", "model.h5", "long.fasta", "--output", "long.h5", "--device", "cpu",
                       "--batch-tokens", "1000", "--too-long", "window", "--residues", "none", "--overwrite"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            self.assertEqual(status, 0)
            return used.ru_maxrss * 1024
        vectors = 45_000 * 64 * 4
        self.assertLess(peak(45_000) - peak(1000), 2 * vectors + (16 << 20))

    def test_windows_that_are_not_finite(self):
        code, text = run(1, "make", "huge.h5", 1, POSITIONS, 1e38, program=REFERENCE)
        self.assertEqual(code, 0, text)
        for options in (), ("--residues", "none", "--pool", "mean"), ("--residues", "float16", "--pool", "none"):
            text = self.embed("huge.out", *options, "--overwrite", checkpoint="huge.h5", ranks=2, code=1)
            self.assertIn("16 of its proteins have vectors that are not finite", text)
            numpy.testing.assert_array_equal(read("huge.out")["status"], [5 if n else 1 for n in self.lengths])

    def test_predictions(self):
        """What a head predicts by windows is what it says of the vectors in a file, where labels measure it."""
        letters = ["".join("HEC"[ord(residue) % 3] for residue in sequence) for _, sequence in self.proteins]
        with open("labels.fasta", "w") as structure, open("places.fasta", "w") as places:
            for (name, sequence), text in zip(self.proteins, letters):
                if sequence:
                    split = "test" if len(sequence) > WINDOW else "train"
                    structure.write(f">{name} SET={split} VALIDATION={len(sequence) == 40}\n{text}\n")
                    places.write(f">{name} Nucleus-{'MS'[len(sequence) % 2]}{' test' * (split == 'test')}\n{sequence}\n")
        for task, kind, labels in (("secondary_structure", "three_state", ("--three-state", "labels.fasta")),
                                   ("localization", "membrane", ("--localization", "places.fasta"))):
            code, text = run(1, "train", "--task", task, *labels, "--embeddings", "whole.h5", "--output", f"{kind}.h5",
                             "--epochs", 3, "--learning-rate", 0.03, "--no-baselines", "--report", f"{kind}.json",
                             "--device", "cpu", program=PROBE)
            self.assertEqual(code, 0, text)
            with open(f"{kind}.json") as file:
                scores = json.load(file)["kinds"][kind]["results"][0]
            found = []
            for ranks, tokens in ((1, 1), (2, 300), (3, 100_000)):
                code, text = run(ranks, "predict", "--task", task, "--head", f"{kind}.h5", "--checkpoint", "model.h5",
                                 "proteins.fasta", "--output", "predicted", "--too-long", "window", "--batch-tokens",
                                 tokens, "--device", "cpu", program=PROBE)
                self.assertEqual(code, 0, text)
                with h5py.File("predicted.h5") as file:
                    numpy.testing.assert_array_equal(file["status"][()], self.status)
                    numpy.testing.assert_array_equal(file["lengths"][()], self.lengths)
                    offsets, classes = file["offsets"][()], file[f"{kind}/classes"][()]
                    found.append(file[f"{kind}/probabilities"][()])
                numpy.testing.assert_array_equal(found[0], found[-1])
                right = []
                for i, (n, text) in enumerate(zip(self.lengths, letters)):
                    if n > WINDOW and task == "localization":
                        right.append("SM"[classes[i]] == "MS"[n % 2])
                    elif n > WINDOW:
                        right += ["HEC"[number] == letter for number, letter in zip(classes[offsets[i] :], text)]
                self.assertEqual(len(right), scores["labels"])
                self.assertAlmostEqual(sum(right) / len(right), scores["accuracy"], delta=1e-9)

    def test_messages(self):
        result, text = run(2, "--checkpoint", "model.h5", "proteins.fasta", "--output", "refused.h5")
        self.assertEqual(result, 2)
        self.assertIn("give --too-long window,", text)
        self.embed("refused.h5", ranks=2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
