"""A protein's vectors are the same, bit for bit, alone and in any batch, with any number of ranks and threads:
same_bits.py BUILD_FOLDER, in a folder of its own."""

import pathlib
import random
import re
import unittest

import h5py
import numpy

from programs import REFERENCE, empty_own_folder, random_proteins, read, run, write_fasta

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
KINDS = ("residues", "mean", "cls")
# Rows and heads that fill no vector, more of them than a tile has, and sums of several blocks.
HIDDEN, INTERMEDIATE, LONGEST = 204, 1101, 600


def real_proteins(count):
    """Some of ../shared/data, beside the project's folder; random ones where that is missing."""
    path = SHARED / "localization" / "deeploc_test.fasta"
    if not path.exists():
        return random_proteins(count, LONGEST, 3)
    found = []
    for entry in path.read_text().split(">")[1:]:
        header, _, lines = entry.partition("\n")
        found.append((header.split()[0], lines.replace("\n", "")))
    found = [protein for protein in found if len(protein[1]) <= LONGEST]
    return random.Random(3).sample(found, count)


def of_lengths(lengths):
    generator = random.Random(4)
    return [(f"length{n}", "".join(generator.choices("ACDEFGHIKLMNPQRSTVWY", k=n))) for n in lengths]


def bits(array):
    return array.view({2: numpy.uint16, 4: numpy.uint32}[array.dtype.itemsize])


def embed(name, ranks, threads, tokens, proteins, count=None, arguments=(), **environment):
    """Embeds to NAME.h5, `count` batches where it is given."""
    write_fasta(f"{name}.fasta", proteins)
    code, text = run(ranks, "--checkpoint", "model.h5", f"{name}.fasta", "--output", f"{name}.h5", "--device", "cpu",
                     "--batch-tokens", tokens, *arguments, OMP_NUM_THREADS=str(threads), **environment)
    assert code == 0, text
    # The run is the one that was meant.
    assert f", {threads} thread{'s' if threads > 1 else ''}" in text, text
    found = int(re.search(r"([\d,]+) batches of at most", text)[1].replace(",", ""))
    assert count in (None, found), text


def vectors(path):
    """By id: the bits of each kind of vector."""
    data = read(path)
    found = {}
    for i, name in enumerate(data["ids"]):
        rows = slice(int(data["offsets"][i]), int(data["offsets"][i + 1]))
        found[name.decode()] = {"residues": bits(data["residues"][rows]), "mean": bits(data["mean"][i]),
                                "cls": bits(data["cls"][i])}
    return found


class SameBits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_own_folder()
        code, output = run(1, "make", "model.h5", 1, 1024, 1, HIDDEN, INTERMEDIATE, program=REFERENCE)
        assert code == 0, output
        # Both sides of the kernels' tiles, groups and slices; with [CLS] and [SEP] a protein is two rows longer.
        cls.proteins = real_proteins(24) + of_lengths([1, 2, 3, 14, 15, 17, 31, 46, 61, 62, 63, 65, 127, 189, 191, 193,
                                                       253, 254, 255, 257, 477, 478, 479, 599, 600])
        cls.proteins.append(("copy", cls.proteins[0][1]))
        # One protein a batch, on one core: what all others are compared with.
        embed("alone", 1, 1, 1, cls.proteins, len(cls.proteins))
        cls.expected = vectors("alone.h5")

    def compare(self, name, expected=None, number=None):
        found = vectors(f"{name}.h5")
        self.assertEqual(len(found), number or len(self.proteins))
        for protein, own in found.items():
            for kind in KINDS:
                other = (expected or self.expected)[protein][kind]
                self.assertEqual(own[kind].shape, other.shape)
                different = int((own[kind] != other).sum())
                self.assertEqual(different, 0, f"{name}: {kind} of {protein}, of {other.size} values")

    def test_all_in_one_batch(self):
        for threads in (1, 2, 3, 5):
            with self.subTest(threads=threads):
                embed(f"one_batch{threads}", 1, threads, 1_000_000, self.proteins, 1)
                self.compare(f"one_batch{threads}")

    def test_other_batches_ranks_and_threads(self):
        for ranks, threads, tokens in ((1, 3, 777), (2, 1, 4000), (2, 3, 1500), (3, 1, 60), (3, 2, 2500), (1, 5, 1)):
            with self.subTest(ranks=ranks, threads=threads, tokens=tokens):
                embed(f"batches{tokens}", ranks, threads, tokens, self.proteins)
                self.compare(f"batches{tokens}")

    def test_other_order_and_company(self):
        embed("backwards", 2, 2, 3000, self.proteins[::-1])
        self.compare("backwards")
        some = self.proteins[1::3]
        embed("some", 1, 3, 5000, some)
        self.compare("some", number=len(some))
        company = [(f"other{i}", sequence) for i, (_, sequence) in enumerate(random_proteins(20, 300, 5))] + some[::2]
        embed("company", 1, 2, 100_000, company, 1)
        found = vectors("company.h5")
        for protein, _ in some[::2]:
            for kind in KINDS:
                numpy.testing.assert_array_equal(found[protein][kind], self.expected[protein][kind])

    def test_input_of_one_protein(self):
        for i, threads in ((0, 1), (5, 2), (10, 3), (-3, 5), (-2, 2)):
            with self.subTest(protein=self.proteins[i][0], threads=threads):
                embed("single", 1, threads, 4096, [self.proteins[i]], 1, arguments=("--overwrite",))
                self.compare("single", number=1)

    def test_halves(self):
        half = ("--residues", "float16")
        embed("half_alone", 1, 1, 1, self.proteins, arguments=half)
        embed("half", 2, 3, 5000, self.proteins, arguments=half)
        self.compare("half", vectors("half_alone.h5"))

    def test_bfloat16(self):
        rounded = ("--precision", "bfloat16")
        embed("rounded_alone", 1, 1, 1, self.proteins, arguments=rounded)
        expected = vectors("rounded_alone.h5")
        self.assertTrue((expected["length600"]["residues"] != self.expected["length600"]["residues"]).any())
        for ranks, threads, tokens in ((1, 3, 1_000_000), (2, 2, 2000), (3, 1, 60)):
            with self.subTest(ranks=ranks, threads=threads, tokens=tokens):
                embed(f"rounded{tokens}", ranks, threads, tokens, self.proteins, arguments=rounded)
                self.compare(f"rounded{tokens}", expected)

    def test_what_is_compared(self):
        """Numbers that differ from protein to protein, and bits that another instruction set changes."""
        for kind in KINDS:
            self.assertTrue(all(numpy.isfinite(one[kind].view(numpy.float32)).all() for one in self.expected.values()))
        names = [name for name, _ in self.proteins]
        first = self.expected[names[0]]
        numpy.testing.assert_array_equal(first["residues"], self.expected["copy"]["residues"])
        for name in names[1:-1]:
            self.assertTrue((self.expected[name]["mean"] != first["mean"]).any())
        with open("/proc/cpuinfo") as file:
            if " fma " not in file.read():
                self.skipTest("this CPU has one of the instruction sets")
        embed("baseline", 1, 1, 1, self.proteins, PROTALBERT_INSTRUCTION_SET="baseline")
        with self.assertRaises(AssertionError):
            self.compare("baseline")
        with h5py.File("baseline.h5") as one, h5py.File("alone.h5") as other:
            numpy.testing.assert_allclose(one["mean"][()], other["mean"][()], rtol=0, atol=1e-4)


if __name__ == "__main__":
    unittest.main(verbosity=2)
