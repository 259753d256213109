"""Vectors that are infinite or no numbers: not_finite.py BUILD_FOLDER, in a folder of its own."""

import os
import re
import subprocess
import time
import unittest

import h5py
import numpy

import programs
from programs import EMBED, REFERENCE, TIMEOUT, empty_own_folder, random_proteins, read, run, write_fasta

batches_done = programs.Embed.batches_done


class NotFinite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_own_folder()
        # Last layer norms that leave float16's range for some proteins, for all, and float32's for all.
        for name, scale in (("some.h5", 1.7e4), ("large.h5", 1e5), ("huge.h5", 1e38)):
            code, output = run(1, "make", name, 1, 512, scale, program=REFERENCE)
            assert code == 0, output
        cls.proteins = random_proteins(60, 200, 1)
        cls.proteins[10] = ("empty", "")
        cls.proteins[11] = ("one/1", "M")
        write_fasta("proteins.fasta", cls.proteins)
        cls.lengths = [len(sequence) for _, sequence in cls.proteins]

    def embed(self, ranks, output, *options, checkpoint, code=0):
        result, text = run(ranks, "--checkpoint", checkpoint, "proteins.fasta", "--output", output, "--batch-tokens",
                           300, *options)
        self.assertEqual(result, code, text)
        return text

    def flawed(self, data):
        """Of each protein, whether any of its vectors has a value that is not finite."""
        pooled = [~numpy.isfinite(data[name]).all(axis=1) for name in ("mean", "cls") if name in data]
        rows = ~numpy.isfinite(data["residues"]).all(axis=1) if "residues" in data else []
        return [bool(n) and (any(column[i] for column in pooled) or bool(numpy.any(rows[first : first + n])))
                for i, (n, first) in enumerate(zip(map(int, data["lengths"]), map(int, data["offsets"])))]

    def check_flawed(self, path, text, some=False):
        """/status 5 for exactly the proteins that have such values; count and first ids in the message."""
        data = read(path)
        flawed = self.flawed(data)
        numpy.testing.assert_array_equal(data["status"],
                                         [5 if bad else 0 if n else 1 for bad, n in zip(flawed, self.lengths)])
        numpy.testing.assert_array_equal(data["lengths"], self.lengths)
        self.assertIn(f"{sum(flawed)} of its proteins have vectors that are not finite", text)
        names = [name for bad, (name, _) in zip(flawed, self.proteins) if bad]
        self.assertIn(f"({', '.join(names[:3])} ...)", text)
        self.assertEqual(text.count("error:"), 1)
        self.assertGreater(sum(flawed), 3)
        self.assertEqual(sum(flawed) < len(flawed) - 1, some)
        code, output = run(1, "checksums", path, program=REFERENCE)
        self.assertEqual(code, 0, output)
        return data

    def test_values_beyond_float16(self):
        half = ("--residues", "float16")
        text = self.embed(1, "beyond.h5", *half, checkpoint="some.h5", code=1)
        data = self.check_flawed("beyond.h5", text, some=True)
        for ranks in (2, 3):
            self.embed(ranks, "beyond_too.h5", *half, "--overwrite", checkpoint="some.h5", code=1)
            for name, values in read("beyond_too.h5").items():
                numpy.testing.assert_array_equal(values, data[name], err_msg=name)
            os.remove("beyond_too.h5")
        # The same call finds it done, and does not call that a success either.
        before = os.stat("beyond.h5").st_mtime_ns
        text = self.embed(2, "beyond.h5", *half, checkpoint="some.h5", code=1)
        self.check_flawed("beyond.h5", text, some=True)
        self.assertEqual(os.stat("beyond.h5").st_mtime_ns, before)
        # What the message recommends works.
        self.assertIn("--residues float32 --overwrite embeds anew", text)
        self.embed(2, "beyond.h5", "--residues", "float32", "--overwrite", checkpoint="some.h5")
        self.assertNotIn(5, read("beyond.h5")["status"])
        self.embed(2, "all.h5", *half, checkpoint="large.h5", code=1)

    def test_values_beyond_float32(self):
        for i, options in enumerate(((), ("--residues", "none"), ("--residues", "float16", "--pool", "cls"),
                                     ("--residues", "float16", "--pool", "none"),
                                     ("--precision", "bfloat16"))):
            with self.subTest(options=options):
                text = self.embed(1 + i % 3, f"huge{i}.out", *options, checkpoint="huge.h5", code=1)
                self.check_flawed(f"huge{i}.out", text)
                self.assertIn("huge weights; look at huge.h5", text)
                self.assertEqual("--precision float32" in text, "bfloat16" in options)
                self.assertNotIn("--residues float32", text)

    def test_values_beyond_float16_per_protein(self):
        options = ("--residues", "float16", "--layout", "per-protein")
        text = self.embed(2, "beyond_each.h5", *options, checkpoint="some.h5", code=1)
        self.assertIn("the attribute status 5 tells which", text)
        flawed = 0
        with h5py.File("beyond_each.h5") as file:
            for name, (_, sequence) in zip([name.replace("/", "_") for name, _ in self.proteins], self.proteins):
                bad = not numpy.isfinite(file[name][()]).all()
                self.assertEqual(file[name].attrs.get("status"), 5 if bad else None if sequence else 1)
                flawed += bad
        self.assertIn(f"{flawed} of its proteins have vectors that are not finite", text)
        self.assertTrue(3 < flawed < len(self.proteins) - 1)
        again = self.embed(1, "beyond_each.h5", *options, checkpoint="some.h5", code=1)
        self.assertIn("nothing to do", again)
        messages = [re.search("error: .*", output)[0] for output in (text, again)]
        self.assertEqual(messages[0], messages[1])

    def test_values_beyond_float16_of_a_killed_job(self):
        command = ("--checkpoint", "some.h5", "proteins.fasta", "--batch-tokens", "300", "--residues", "float16",
                   "--output")
        code, _ = run(1, *command, "unbroken.h5")
        self.assertEqual(code, 1)
        unbroken = read("unbroken.h5")
        for kill_after in (0.0, 0.5, 1.0):
            process = subprocess.Popen([EMBED, *command, "killed.h5"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env={**os.environ, "PROTALBERT_SLOW_WRITE": "400000"})
            deadline = time.time() + TIMEOUT
            while time.time() < deadline and process.poll() is None and batches_done("killed.h5.part") < 2:
                time.sleep(0.01)
            time.sleep(kill_after)
            process.kill()
            process.wait()
            code, text = run(2, *command, "killed.h5")
            self.assertEqual(code, 1, text)
            self.check_flawed("killed.h5", text, some=True)
            for name, values in read("killed.h5").items():
                numpy.testing.assert_array_equal(values, unbroken[name], err_msg=name)
            os.remove("killed.h5")

    def test_killed_while_it_marks_what_is_not_finite(self):
        """Every step from the last batch to the file's name takes 0.15 s more."""
        write_fasta("few.fasta", self.proteins[:2] + [("last", "MKV")])
        for layout in "flat", "per-protein":
            command = ("--checkpoint", "large.h5", "few.fasta", "--residues", "float16", "--pool", "none", "--layout",
                       layout, "--output")
            self.assertEqual(run(1, *command, f"few_{layout}.h5")[0], 1)
            anew = 0
            for step in range(10):
                process = subprocess.Popen([EMBED, *command, "marked.h5"], stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL,
                                           env={**os.environ, "PROTALBERT_SLOW_WRITE": "27000"})
                deadline = time.time() + TIMEOUT
                while time.time() < deadline and process.poll() is None and batches_done("marked.h5.part") < 1:
                    time.sleep(0.01)
                time.sleep(0.1 * step)
                process.kill()
                process.wait()
                code, text = run(2, *command, "marked.h5")
                self.assertEqual(code, 1, text)
                self.assertIn("3 of its proteins have vectors that are not finite (protein0, protein1, last)", text)
                anew += "starting anew" in text
                with h5py.File("marked.h5") as file, h5py.File(f"few_{layout}.h5") as whole:
                    self.assertEqual(set(file), set(whole))
                    self.assertEqual(dict(file.attrs), dict(whole.attrs))
                    for name in whole:
                        numpy.testing.assert_array_equal(file[name][()], whole[name][()], err_msg=name)
                        self.assertEqual(dict(file[name].attrs), dict(whole[name].attrs))
                os.remove("marked.h5")
            self.assertGreater(anew, 0, "no kill came while the file was marked")


if __name__ == "__main__":
    unittest.main(verbosity=2)
