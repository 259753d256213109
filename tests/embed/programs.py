"""protalbert_embed from outside: programs.py BUILD_FOLDER, in a folder of its own."""

import fcntl
import gzip
import os
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
import unittest

import h5py
import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from own_folder import empty_own_folder

BUILD = os.path.abspath(sys.argv.pop(1))
EMBED = os.path.join(BUILD, "protalbert_embed")
REFERENCE = os.path.join(BUILD, "tests", "embed_reference")
MPIRUN = shlex.split(os.environ.get("MPIRUN", "mpirun -n"))
TIMEOUT = 120  # seconds; nothing takes a tenth of it

# Means are divided in another way than the reference's; and a GPU, where there is one, adds in another order: float32
# rounding of values near 1 through three layers. Of a CPU same_bits.py demands the bits.
ROUNDING = 3e-5


def run(ranks, *arguments, program=EMBED, **environment):
    command = [*MPIRUN, str(ranks), program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env={**os.environ, **environment})
    return done.returncode, done.stdout + done.stderr


def read(path):
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def write_fasta(path, proteins):
    with open(path, "w") as file:
        for name, sequence in proteins:
            file.write(f">{name} of a test\n")
            for start in range(0, len(sequence), 60):
                file.write(sequence[start : start + 60] + "\n")


def random_proteins(count, longest, seed):
    generator = random.Random(seed)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    return [(f"protein{i}", "".join(generator.choices(letters, k=generator.randint(1, longest)))) for i in range(count)]


def processes_of_session(session):
    """From /proc: minimal systems have no ps."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()  # state, parent, group, session...
        except (FileNotFoundError, ProcessLookupError):
            continue
        # Of a killed process the first thread can have ended before others, which still hold its files.
        ended = fields[0] in "ZX" and int(fields[17]) <= 1
        if int(fields[3]) == session and not ended:
            found.append(int(name))
    return found


class Embed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_own_folder()
        for arguments in (("small.h5", 1), ("other.h5", 2)):
            code, output = run(1, "make", *arguments, program=REFERENCE)
            assert code == 0, output
        cls.proteins = random_proteins(60, 200, 1)
        # Two proteins with one id, an equal protein under another id, one without residues, one of one residue, an id
        # that is no file name, and letters that become X.
        cls.proteins[7] = ("protein3", cls.proteins[7][1])
        cls.proteins[8] = ("copy", cls.proteins[9][1])
        cls.proteins[10] = ("empty", "")
        cls.proteins[11] = ("one", "M")
        cls.proteins[12] = ("sp|P1/2|a.b", "MUZOBmuzob*")
        write_fasta("proteins.fasta", cls.proteins)
        code, output = run(1, "encode", "small.h5", "proteins.fasta", "alone.h5", program=REFERENCE)
        assert code == 0, output
        cls.alone = read("alone.h5")
        # The longest ids that are read, of characters of two and three bytes.
        cls.long_ids = ["\u00e9" * 511 + "i", "\u86cb" * 341, "short"]
        with open("long_ids.fasta", "w", encoding="utf-8") as file:
            for name in cls.long_ids:
                file.write(f">{name}\nACD\n")
        cls.lengths = [len(sequence.rstrip("*")) for _, sequence in cls.proteins]

    def embed(self, ranks, output, *options, checkpoint="small.h5", inputs=("proteins.fasta",), code=0):
        result, text = run(ranks, "--checkpoint", checkpoint, *inputs, "--output", output, "--batch-tokens", 300,
                           *options)
        self.assertEqual(result, code, text)
        return text

    def check_flat(self, path, tolerance=ROUNDING):
        data = read(path)
        self.assertEqual([name.decode() for name in data["ids"]], [name for name, _ in self.proteins])
        numpy.testing.assert_array_equal(data["lengths"], self.lengths)
        numpy.testing.assert_array_equal(data["offsets"], numpy.concatenate([[0], numpy.cumsum(self.lengths)]))
        self.assertEqual(data["offsets"].dtype, numpy.uint64)
        numpy.testing.assert_array_equal(data["status"], [0 if length else 1 for length in self.lengths])
        for name in ("residues", "mean", "cls"):
            if name in data:
                numpy.testing.assert_allclose(data[name], self.alone[name], rtol=0, atol=tolerance, err_msg=name)
        return data

    def test_packing_changes_nothing(self):
        text = self.embed(1, "packed.h5")
        data = self.check_flat("packed.h5")
        self.assertEqual(set(data), {"ids", "lengths", "offsets", "status", "checksums", "residues", "mean", "cls"})
        self.assertEqual(data["residues"].dtype, numpy.float32)
        self.assertTrue(numpy.isnan(data["mean"][10]).all() and numpy.isnan(data["cls"][10]).all())
        self.assertEqual(numpy.isnan(data["mean"]).all(axis=1).sum(), 1)
        # The mean is of the rows beside it.
        rows = data["residues"][data["offsets"][20] : data["offsets"][21]]
        numpy.testing.assert_allclose(data["mean"][20], rows.mean(axis=0), atol=1e-6)
        # Equal proteins have equal vectors; different ones do not.
        numpy.testing.assert_allclose(data["mean"][8], data["mean"][9], atol=ROUNDING)
        self.assertGreater(abs(data["mean"][8] - data["mean"][20]).max(), 0.01)
        with h5py.File("packed.h5") as file:
            self.assertEqual(file.attrs["format"], "protalbert embeddings")
            self.assertEqual(file.attrs["step"], 7)
            self.assertIn("small.h5", file.attrs["checkpoint"])
        for words in ("59 proteins embedded", "1 proteins without residues", "1 proteins have an id", "8 residues U, Z",
                      "1 trailing", "residues/s"):
            self.assertIn(words, text)

    def test_ranks_change_nothing(self):
        self.embed(1, "ranks1.h5")
        one = self.check_flat("ranks1.h5")
        for ranks in (2, 3):
            self.embed(ranks, f"ranks{ranks}.h5")
            other = self.check_flat(f"ranks{ranks}.h5")
            for name in one:
                # Batches are the same: equal to the bit.
                numpy.testing.assert_array_equal(one[name], other[name], err_msg=name)

    def test_options(self):
        self.embed(2, "half.h5", "--residues", "float16", "--pool", "cls")
        # Half precision keeps 11 bits: 5e-4 of values up to 5.
        data = self.check_flat("half.h5", tolerance=3e-3)
        self.assertEqual(data["residues"].dtype, numpy.float16)
        self.assertNotIn("mean", data)
        self.embed(2, "pooled.h5", "--residues", "none")
        self.assertNotIn("residues", self.check_flat("pooled.h5"))
        self.embed(1, "bare.h5", "--pool", "none")
        self.assertNotIn("cls", self.check_flat("bare.h5"))

    def test_bfloat16(self):
        """Products of rounded factors: each errs by up to 2^-8 of its size, and the sums of many by far less."""
        text = self.embed(2, "bfloat16.h5", "--precision", "bfloat16")
        self.assertIn("bfloat16 products by", text)
        data = read("bfloat16.h5")
        for name in ("residues", "mean", "cls"):
            known = ~numpy.isnan(self.alone[name])
            self.assertEqual(numpy.isnan(data[name]).sum(), (~known).sum(), name)
            off = numpy.linalg.norm((data[name] - self.alone[name])[known]) / numpy.linalg.norm(self.alone[name][known])
            self.assertLess(off, 2**-6, name)
            self.assertGreater(off, 2**-12, name)

    def test_inputs_of_every_kind(self):
        with open("proteins.fasta", "rb") as plain, gzip.open("proteins.fasta.gz", "wb") as packed:
            packed.write(plain.read())
        with open("lines.txt", "w") as text:
            for _, sequence in self.proteins:
                if sequence and "*" not in sequence:
                    text.write(" ".join(sequence) + "\n")
        self.embed(3, "many.h5", inputs=("proteins.fasta.gz", "lines.txt", "proteins.fasta"))
        data = read("many.h5")
        n, lines = len(self.proteins), len(self.proteins) - 2
        self.assertEqual(len(data["ids"]), 2 * n + lines)
        self.assertEqual(data["ids"][n], b"lines.txt:1")
        numpy.testing.assert_allclose(data["mean"][:n], self.alone["mean"], atol=ROUNDING)
        numpy.testing.assert_allclose(data["mean"][-n:], self.alone["mean"], atol=ROUNDING)
        keep = [i for i, (_, sequence) in enumerate(self.proteins) if sequence and "*" not in sequence]
        numpy.testing.assert_allclose(data["mean"][n : n + lines], self.alone["mean"][keep], atol=ROUNDING)
        with open("proteins.fasta") as file:
            command = [*MPIRUN, "2", EMBED, "--checkpoint", "small.h5", "-", "--output", "stdin.h5"]
            done = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_flat("stdin.h5")

    def test_per_protein_layout(self):
        self.embed(2, "each.h5", "--layout", "per-protein")
        offsets = numpy.concatenate([[0], numpy.cumsum(self.lengths)])
        with h5py.File("each.h5") as file:
            self.assertEqual(len(file), len(self.proteins))
            self.assertIn("sp|P1_2|a.b", file)
            self.assertIn("protein3_2", file)
            named = {}
            for name, (identifier, _) in zip(self.names(), self.proteins):
                self.assertEqual(file[name].attrs["original_id"], identifier)
                named[name] = file[name][()]
        for i, name in enumerate(self.names()):
            numpy.testing.assert_allclose(named[name], self.alone["residues"][offsets[i] : offsets[i + 1]],
                                          atol=ROUNDING)
        self.embed(2, "eachmean.h5", "--layout", "per-protein", "--pool", "mean")
        pooled = read("eachmean.h5")
        for i, name in enumerate(self.names()):
            numpy.testing.assert_allclose(pooled[name], self.alone["mean"][i], atol=ROUNDING)

    def test_names_of_datasets(self):
        """An id that can be a name is one, whoever comes first; others take a name that no id has."""
        letters = "ACDEFGHIKLMNPQRSTVWY"
        ids = ["a", "a", "a_2", ".", "./y", "A0A1_HUMAN/1-50", "sp|Q99|C_HUMAN", "..", "protein_11", "protein_12", "",
               "", "x/y", "x_y", "A", "\u00e9/1", "\u00e9_1", "a_3", "_", "/", "\u86cb\u767d\u8d28" * 113]
        names = ["a", "a_4", "a_2", "__2", "._y", "A0A1_HUMAN_1-50", "sp|Q99|C_HUMAN", "..", "protein_11", "protein_12",
                 "protein_11_2", "protein_12_2", "x_y_2", "x_y", "A", "\u00e9_1_2", "\u00e9_1", "a_3", "_", "__3",
                 ids[-1]]
        with open("ids.fasta", "w", encoding="utf-8") as file:
            for i, name in enumerate(ids):
                file.write(f">{name}\n{letters[i % 20] * (i + 1)}\n")
        self.embed(1, "ids_flat.h5", inputs=("ids.fasta",))
        for ranks in (1, 2):
            text = self.embed(ranks, f"ids{ranks}.h5", "--layout", "per-protein", inputs=("ids.fasta",))
            changed = sum(a != b for a, b in zip(ids, names))
            self.assertIn(f"{changed} datasets are not called by their proteins' ids", text)
            self.assertIn("'a' is a_4, '.' is __2, './y' is ._y ...;", text)
            with h5py.File(f"ids{ranks}.h5") as file, h5py.File("ids_flat.h5") as flat:
                self.assertEqual(set(file), set(names))
                self.assertEqual(list(flat["ids"].asstr()), ids)
                for i, (identifier, name) in enumerate(zip(ids, names)):
                    self.assertEqual(file[name].attrs["original_id"], identifier)
                    rows = flat["residues"][flat["offsets"][i] : flat["offsets"][i + 1]]
                    numpy.testing.assert_array_equal(file[name][()], rows, err_msg=name)
        text = self.embed(1, "unchanged.h5", "--layout", "per-protein", inputs=("long_ids.fasta",))
        self.assertNotIn("not called by", text)

    def test_text_is_utf_8(self):
        shutil.copy("small.h5", "mod\u00e8le.h5")
        self.embed(2, "utf8.h5", checkpoint="mod\u00e8le.h5", inputs=("long_ids.fasta",))
        with h5py.File("utf8.h5") as file:
            self.assertEqual(file["ids"].id.get_type().get_cset(), h5py.h5t.CSET_UTF8)
            self.assertEqual(list(file["ids"].asstr()), self.long_ids)
            self.assertIn("mod\u00e8le.h5", file.attrs["checkpoint"])

    def names(self):
        names = [name.replace("/", "_") for name, _ in self.proteins]
        names[7] = "protein3_2"
        return names

    def test_too_long(self):
        proteins = [("fits", "A" * 510), ("first", "C" * 511), ("second", "D" * 3000), ("short", "E")]
        write_fasta("long.fasta", proteins)
        text = self.embed(2, "long.h5", inputs=("long.fasta",), code=2)
        self.assertIn("2 of the proteins are longer than the 510 residues", text)
        self.assertIn("first (511 residues), second (3,000 residues)", text)
        self.assertIn("--too-long skip", text)
        self.assertIn("--too-long window,", text)
        self.assertFalse(os.path.exists("long.h5") or os.path.exists("long.h5.part"))
        text = self.embed(2, "long.h5", "--too-long", "skip", inputs=("long.fasta",))
        self.assertIn("2 proteins too long", text)
        data = read("long.h5")
        numpy.testing.assert_array_equal(data["status"], [0, 2, 2, 0])
        numpy.testing.assert_array_equal(data["lengths"], [510, 0, 0, 1])
        numpy.testing.assert_array_equal(numpy.isnan(data["mean"]).all(axis=1), [False, True, True, False])

    def test_invalid_letters(self):
        write_fasta("letters.fasta", [("good", "ACD"), ("bad", "ACJD"), ("last", "WY")])
        text = self.embed(2, "letters.h5", inputs=("letters.fasta",), code=2)
        for words in ("letters.fasta:4", "bad", "'J'"):
            self.assertIn(words, text)
        text = self.embed(2, "letters.h5", "--invalid", "skip", inputs=("letters.fasta",))
        self.assertIn("1 proteins skipped for letters", text)
        numpy.testing.assert_array_equal(read("letters.h5")["status"], [0, 3, 0])
        text = self.embed(2, "x.h5", "--invalid", "unknown", inputs=("letters.fasta",))
        self.assertIn("1 letters that are no residues read as X", text)
        numpy.testing.assert_array_equal(read("x.h5")["lengths"], [3, 4, 2])

    def test_finished_output_is_left_alone(self):
        self.embed(2, "finished.h5")
        before = os.stat("finished.h5")
        text = self.embed(1, "finished.h5")
        self.assertIn("nothing to do", text)
        after = os.stat("finished.h5")
        self.assertEqual((before.st_mtime_ns, before.st_ino), (after.st_mtime_ns, after.st_ino))
        # Another job's output is not replaced unasked.
        for options in ({"checkpoint": "other.h5"}, {"inputs": ("proteins.fasta", "proteins.fasta")}):
            text = self.embed(2, "finished.h5", code=2, **options)
            self.assertIn("--overwrite", text)
            self.assertEqual(text.count("error:"), 1)
        self.assertEqual(os.stat("finished.h5").st_mtime_ns, before.st_mtime_ns)
        self.embed(1, "finished.h5", "--residues", "none", code=2)
        self.embed(1, "finished.h5", "--overwrite", checkpoint="other.h5")
        self.assertGreater(abs(read("finished.h5")["cls"] - self.alone["cls"])[0].max(), 0.01)
        with open("text.h5", "w") as file:
            file.write("precious\n")
        self.embed(2, "text.h5", code=2)
        with open("text.h5") as file:
            self.assertEqual(file.read(), "precious\n")

    def test_output_of_a_run_at_work_is_left_alone(self):
        with open("busy.h5.lock", "wb") as file:  # as of another run, which holds it
            fcntl.flock(file, fcntl.LOCK_EX)
            text = self.embed(2, "busy.h5", code=2)
            self.assertIn("another run is at work at busy.h5: ", text)
            self.assertEqual(text.count("error:"), 1)
            self.assertFalse(os.path.exists("busy.h5.part"))
        self.embed(2, "busy.h5")
        self.assertFalse(os.path.exists("busy.h5.lock"))

    def test_runs_that_begin_together_write_one_output(self):
        jobs = []
        for i in range(6):
            write_fasta(f"together{i}.fasta", [(f"of_job_{i}", "ACDEFGHIKL" * (i + 1))])
            jobs.append(subprocess.Popen([EMBED, "--checkpoint", "small.h5", f"together{i}.fasta", "--output", "together.h5"],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
        errors = [job.communicate(timeout=TIMEOUT)[1] for job in jobs]
        done = [i for i, job in enumerate(jobs) if job.returncode == 0]
        self.assertEqual(len(done), 1, errors)
        self.assertEqual(read("together.h5")["ids"].astype(str).tolist(), [f"of_job_{done[0]}"])
        self.assertTrue(all(job.returncode in (0, 2) for job in jobs), errors)
        self.assertFalse(os.path.exists("together.h5.part"))

    def test_run_holds_its_output(self):
        self.write_bulk("held.h5")
        for launcher in [], [*MPIRUN, "2"]:
            os.remove("held.h5")
            process = subprocess.Popen([*launcher, EMBED, "--checkpoint", "small.h5", "bulk.fasta", "--output", "held.h5",
                                        "--batch-tokens", "600"], stdout=subprocess.DEVNULL)
            deadline = time.time() + TIMEOUT
            while time.time() < deadline and process.poll() is None and self.batches_done("held.h5.part") < 1:
                time.sleep(0.02)
            with open("held.h5.lock", "rb") as file, self.assertRaises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.assertEqual(process.wait(), 0)

    def interrupt(self, ranks, output, number, *options):
        """Starts a long job and sends it a signal once some batches are in the file; the exit code."""
        # mpirun itself ends all ranks on SIGTERM, and passes SIGUSR1 on; alone, the program hears both.
        launcher = [] if number == signal.SIGTERM else [*MPIRUN, str(ranks)]
        command = [*launcher, EMBED, "--checkpoint", "small.h5", "bulk.fasta", "--output", output,
                   "--batch-tokens", "600", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   start_new_session=True)
        deadline = time.time() + TIMEOUT
        while time.time() < deadline and process.poll() is None and self.batches_done(output + ".part") < 2:
            time.sleep(0.02)
        self.assertIsNone(process.poll(), "it ended before it could be interrupted")
        if number == signal.SIGKILL:
            # mpirun and all ranks at once. Ranks have process groups of their own, but stay in the session.
            for pid in processes_of_session(process.pid):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        else:
            process.send_signal(number)
        text = process.communicate(timeout=TIMEOUT)[0]
        # A killed rank may outlive mpirun, and holds the output until it is gone.
        while time.time() < deadline and processes_of_session(process.pid):
            time.sleep(0.02)
        return process.returncode, text

    @staticmethod
    def batches_done(path):
        """Finished batches of an unfinished file, from the table behind HDF5's end and the seal."""
        try:
            with open(path, "rb") as file:
                file.seek(-88, os.SEEK_END)
                footer = file.read()
                if footer[-16:] != b"protalbert part\0":
                    return 0
                table, batches = numpy.frombuffer(footer[:16], numpy.uint64)
                file.seek(int(table))
                entries = numpy.frombuffer(file.read(16 * int(batches)), numpy.uint64)
                return int((entries[::2] > 0).sum())  # each a value and its check
        except OSError:
            return 0

    def write_bulk(self, output, *options):
        """Makes bulk.fasta, long enough to be interrupted: the first batches are known to be on disk after a second.
        Embeds it whole to `output`; the number of proteins."""
        count = 250
        while True:
            write_fasta("bulk.fasta", random_proteins(count, 500, 2))
            start = time.time()
            code, text = run(2, "--checkpoint", "small.h5", "bulk.fasta", "--output", output, "--batch-tokens", 600,
                             "--overwrite", *options)
            self.assertEqual(code, 0, text)
            if time.time() - start > 3:
                return count
            count *= 2

    def test_interrupted_jobs_continue(self):
        count = self.write_bulk("whole.h5")
        whole = read("whole.h5")
        for number, ranks, again in ((signal.SIGKILL, 2, 3), (signal.SIGUSR1, 2, 1), (signal.SIGTERM, 1, 2)):
            with self.subTest(signal=number, ranks=ranks, again=again):
                output = f"stopped{int(number)}{ranks}.h5"
                code, text = self.interrupt(ranks, output, number)
                if number != signal.SIGKILL:
                    self.assertEqual(code, 75, text)
                    self.assertIn("the same command continues", text)
                self.assertFalse(os.path.exists(output))
                done = self.batches_done(output + ".part")
                self.assertGreater(done, 0)
                # What is left is readable, and another job does not touch it.
                with h5py.File(output + ".part") as file:
                    self.assertEqual(len(file["ids"]), count)
                arguments = ("bulk.fasta", "--output", output, "--batch-tokens", 600)
                code, text = run(2, "--checkpoint", "other.h5", *arguments)
                self.assertEqual(code, 2, text)
                self.assertIn("another checkpoint", text)
                code, text = run(again, "--checkpoint", "small.h5", *arguments)
                self.assertEqual(code, 0, text)
                self.assertIn(f": {done:,} of ", text)
                result = read(output)
                self.assertEqual(set(result), set(whole))
                for name in whole:
                    numpy.testing.assert_array_equal(result[name], whole[name], err_msg=name)
                self.assertFalse(os.path.exists(output + ".part"))

    def test_interrupted_per_protein_job_continues(self):
        self.write_bulk("each_whole.h5", "--layout", "per-protein")
        self.interrupt(2, "each_stopped.h5", signal.SIGKILL, "--layout", "per-protein")
        arguments = ("bulk.fasta", "--batch-tokens", 600, "--layout", "per-protein")
        code, text = run(2, "--checkpoint", "small.h5", *arguments, "--output", "each_stopped.h5")
        self.assertEqual(code, 0, text)
        self.assertIn("continuing", text)
        with h5py.File("each_whole.h5") as whole, h5py.File("each_stopped.h5") as stopped:
            self.assertEqual(set(whole), set(stopped))
            for name in whole:
                numpy.testing.assert_array_equal(whole[name][()], stopped[name][()], err_msg=name)

    def test_half_made_file_starts_anew(self):
        with open("half_made.h5.part", "wb") as file:
            file.write(b"\x89HDF\r\n\x1a\n" + bytes(1000))
        text = self.embed(2, "half_made.h5")
        self.assertIn("starting anew", text)
        self.check_flat("half_made.h5")

    def test_bad_calls(self):
        os.makedirs("hf", exist_ok=True)
        os.makedirs("nothing", exist_ok=True)
        with open("hf/config.json", "w") as file:
            file.write("{}")
        with open("blank.fasta", "w") as file:
            file.write("\n\n")
        with open("binary.fasta", "wb") as file:
            file.write(bytes(range(256)))
        base = {"--checkpoint": "small.h5", "input": "proteins.fasta", "--output": "bad.h5"}
        cases = [
            ({"--checkpoint": "missing.h5"}, (), "missing.h5"),
            ({"--checkpoint": "hf"}, (), "hf has neither model.safetensors"),
            ({"--checkpoint": "nothing"}, (), "nothing"),
            ({"--checkpoint": "proteins.fasta"}, (), "proteins.fasta"),
            ({"--checkpoint": "vectors.h5"}, (), "vectors.h5"),
            ({"input": "missing.fasta"}, (), "missing.fasta"),
            ({"input": "blank.fasta"}, (), "blank.fasta"),
            ({"input": "binary.fasta"}, (), "binary.fasta"),
            ({"input": "small.h5"}, (), "small.h5"),
            ({"--output": "nowhere/bad.h5"}, (), "nowhere"),
            ({"--output": "nothing"}, (), "folder"),
            ({}, ("--residues", "float8"), "--residues"),
            ({}, ("--pool", "max"), "max"),
            ({}, ("--pool", "none", "--residues", "none"), "nothing to write"),
            ({}, ("--layout", "per-protein", "--residues", "float16", "--pool", "mean"), "per-protein"),
            ({}, ("--batch-tokens", "0"), "--batch-tokens"),
            ({}, ("--device", "abacus"), "abacus"),
            ({}, ("--colour", "red"), "--colour"),
        ]
        self.embed(1, "vectors.h5")
        before = set(os.listdir("."))
        for changes, options, words in cases:
            with self.subTest(changes=changes, options=options):
                call = dict(base, **changes)
                arguments = [call.pop("input")] + [word for pair in call.items() for word in pair] + list(options)
                start = time.time()
                code, text = run(2, *arguments)
                self.assertEqual(code, 2, text)
                self.assertEqual(text.count("error:"), 1, text)
                self.assertIn(words, text)
                self.assertLess(time.time() - start, 20)
                self.assertEqual(set(os.listdir(".")), before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
