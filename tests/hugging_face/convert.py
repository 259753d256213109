"""protalbert_convert, protalbert_embed --checkpoint FOLDER and protalbert_pretrain --init FOLDER from outside:
convert.py BUILD_FOLDER, in a folder of its own."""

import json
import os
import pathlib
import pickle
import random
import shlex
import shutil
import struct
import subprocess
import sys
import unittest
import zipfile

import h5py
import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from own_folder import empty_own_folder

BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
FORMS = ("zip", "legacy", "half", "shards", "equal_sizes")
MPIRUN = shlex.split(os.environ.get("MPIRUN", "mpirun -n"))
TIMEOUT = 120  # seconds; nothing takes a tenth of it
# A program with MPI takes some 60 MB by itself, under the sanitizers some 200; the hostile files claim gigabytes.
SANITIZED = "PROTALBERT_SANITIZE:BOOL=ON" in (BUILD / "CMakeCache.txt").read_text()
MOST_MEMORY = (600 if SANITIZED else 200) << 20


def run(program, *arguments, ranks=1):
    """Exit code and output."""
    command = [str(BUILD / ("protalbert_" + program)), *map(str, arguments)]
    if ranks > 1:
        command = [*MPIRUN, str(ranks), *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    return done.returncode, done.stdout + done.stderr


def peak_memory(program, *arguments):
    """Bytes that the program had at most."""
    process = subprocess.Popen([str(BUILD / ("protalbert_" + program)), *map(str, arguments)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss << 10


def read_checkpoint(path):
    """{name: array} of the parameters, and the pieces."""
    arrays = {}
    with h5py.File(path) as file:
        file["parameters"].visititems(
            lambda name, item: arrays.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
        assert "optimizer" not in file
        return arrays, [piece.decode() for piece in file["vocabulary"][()]]


def read_safetensors(path):
    """{name: array}, read without any library of the format."""
    content = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    arrays = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32"
        begin, end = entry["data_offsets"]
        arrays[name] = numpy.frombuffer(content[8 + length + begin : 8 + length + end], "<f4").reshape(entry["shape"])
    return arrays


def write_proteins(path, count=30, seed=1):
    generator = random.Random(seed)
    with open(path, "w") as file:
        for number in range(count):
            file.write(f">p{number}\n{''.join(generator.choices('ACDEFGHIKLMNPQRSTVWYX', k=generator.randint(1, 20)))}\n")


class Convert(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_own_folder()
        write_proteins("proteins.fasta")

    def good(self, program, *arguments, ranks=1):
        code, text = run(program, *arguments, ranks=ranks)
        self.assertEqual(code, 0, text)
        return text

    def bad(self, words, program, *arguments, ranks=1):
        before = sorted(str(path) for path in pathlib.Path(".").rglob("*"))
        code, text = run(program, *arguments, ranks=ranks)
        self.assertEqual(code, 2, text)
        self.assertEqual(text.count("error:"), 1, text)
        self.assertIn(words, text)
        self.assertEqual(sorted(str(path) for path in pathlib.Path(".").rglob("*")), before)
        return text

    def test_round_trip_is_bit_identical(self):
        for form in FORMS:
            for ranks in (1, 2):
                with self.subTest(form=form, ranks=ranks):
                    name = f"{form}{ranks}"
                    text = self.good("convert", GOLDEN / form, name + ".h5", ranks=ranks)
                    self.assertIn("as a checkpoint", text)
                    self.good("convert", name + ".h5", name, ranks=ranks)
                    self.good("convert", name + "/", name + "_again.h5", ranks=ranks)
                    arrays, pieces = read_checkpoint(name + ".h5")
                    again, same_pieces = read_checkpoint(name + "_again.h5")
                    stored = read_safetensors(name + "/model.safetensors")
                    self.assertEqual(pieces, same_pieces)
                    self.assertEqual(len(pieces), 34)
                    self.assertEqual(set(arrays), set(stored))
                    self.assertEqual(set(arrays), set(again))
                    for key, array in arrays.items():
                        self.assertEqual(array.tobytes(), stored[key].tobytes(), key)
                        self.assertEqual(array.shape, stored[key].shape, key)
                        self.assertEqual(array.tobytes(), again[key].tobytes(), key)
                    with h5py.File(name + ".h5") as one, h5py.File(name + "_again.h5") as two:
                        self.assertEqual(one.attrs["config"], two.attrs["config"])
                        self.assertEqual(one.attrs["step"], 0)

    def test_values_are_those_of_the_folder(self):
        self.good("convert", GOLDEN / "half", "values.h5")
        arrays, _ = read_checkpoint("values.h5")
        content = (GOLDEN / "half" / "model.safetensors").read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__")
        self.assertEqual(set(header), set(arrays))
        for key, entry in header.items():
            begin, end = entry["data_offsets"]
            half = numpy.frombuffer(content[8 + length + begin : 8 + length + end], "<f2").reshape(entry["shape"])
            numpy.testing.assert_array_equal(arrays[key], half.astype(numpy.float32), err_msg=key)

    def test_absent_and_unused_tensors_are_named(self):
        text = self.good("convert", GOLDEN / "zip", "absent.h5")
        for words in ("sop_classifier.classifier.weight", "initialised as at a fresh start", "classifier.weight: not used"):
            self.assertIn(words, text)

    def test_existing_output(self):
        self.good("convert", GOLDEN / "half", "there.h5")
        self.good("convert", "there.h5", "there")
        before = os.stat("there.h5").st_mtime_ns
        self.bad("--overwrite", "convert", GOLDEN / "zip", "there.h5", ranks=2)
        self.bad("--overwrite", "convert", "there.h5", "there")
        self.assertEqual(os.stat("there.h5").st_mtime_ns, before)
        self.bad("is a folder, where a file", "convert", GOLDEN / "half", "there", "--overwrite")
        self.bad("is a file, where a folder", "convert", "there.h5", "proteins.fasta", "--overwrite")
        self.good("convert", GOLDEN / "equal_sizes", "there.h5", "--overwrite")
        self.good("convert", "there.h5", "there", "--overwrite")
        with open("there/config.json") as file:
            self.assertEqual(json.load(file)["embedding_size"], 32)
        # A folder with something else in it is nobody's to delete.
        pathlib.Path("there/thesis.txt").write_text("precious")
        self.bad("holds more than protalbert_convert writes", "convert", "there.h5", "there", "--overwrite")
        # What an interrupted call left is replaced; what somebody else calls so is not.
        os.makedirs("left.part")
        pathlib.Path("left.part/config.json").write_text("{")
        self.good("convert", "there.h5", "left")
        self.assertEqual(set(os.listdir("left")), {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json",
                                                   "tokenizer_config.json", "special_tokens_map.json"})
        self.assertFalse(os.path.exists("left.part"))
        os.makedirs("mine.part")
        pathlib.Path("mine.part/thesis.txt").write_text("precious")
        self.bad("in the way", "convert", "there.h5", "mine")

    def test_vocabulary(self):
        shutil.copytree(GOLDEN / "half", "bare")
        os.remove("bare/vocab.txt")
        self.bad("--vocabulary", "convert", "bare", "bare.h5")
        self.good("convert", "bare", "bare.h5", "--vocabulary", GOLDEN / "zip" / "spiece.model")
        pieces = read_checkpoint("bare.h5")[1]
        self.assertEqual(pieces[13:16], ["L", "A", "S"])
        # A spiece.model goes along; another one than the checkpoint's does not.
        self.good("convert", "bare.h5", "with_model", "--vocabulary", GOLDEN / "zip" / "spiece.model")
        self.assertEqual(pathlib.Path("with_model/spiece.model").read_bytes(),
                         (GOLDEN / "zip" / "spiece.model").read_bytes())
        pieces[13], pieces[14] = pieces[14], pieces[13]
        pathlib.Path("other.txt").write_text("\n".join(pieces) + "\n")
        self.bad("differs from that of bare.h5 from id 13 on (A against L)", "convert", "bare.h5", "other",
                 "--vocabulary", "other.txt")
        self.bad("nowhere.txt", "convert", "bare", "nowhere.h5", "--vocabulary", "nowhere.txt")

    def test_embedding_reads_folders(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.good("convert", GOLDEN / form, f"embed_{form}.h5")
                self.good("embed", "--checkpoint", f"embed_{form}.h5", "proteins.fasta", "--output", f"one_{form}.h5")
                text = self.good("embed", "--checkpoint", GOLDEN / form, "proteins.fasta", "--output",
                                 f"two_{form}.h5", ranks=2)
                self.assertIn("Hugging Face folder", text)
                with h5py.File(f"one_{form}.h5") as one, h5py.File(f"two_{form}.h5") as two:
                    for name in ("residues", "mean", "cls"):
                        self.assertEqual(one[name][()].tobytes(), two[name][()].tobytes(), name)
                    self.assertGreater(abs(one["mean"][()]).max(), 0.1)

    def test_pretraining_starts_from_folders(self):
        write_proteins("train.fasta", 100, 3)
        self.good("prepare", "train.fasta", "--output", "corpus.h5", "--vocabulary", GOLDEN / "zip" / "spiece.model")
        self.good("prepare", "train.fasta", "--output", "other_corpus.h5")
        config = json.loads((GOLDEN / "shards" / "config.json").read_text())
        pathlib.Path("deck.toml").write_text(f"""
[model]
layers = {config["num_hidden_layers"]}
hidden = {config["hidden_size"]}
intermediate = {config["intermediate_size"]}
heads = {config["num_attention_heads"]}
embedding = {config["embedding_size"]}
groups = {config["num_hidden_groups"]}
inner = {config["inner_group_num"]}
positions = {config["max_position_embeddings"]}
activation = "gelu"
[data]
corpus = "corpus.h5"
max_length = 24
[train]
global_batch = 5
steps = 1
warmup = 0
learning_rate = 0.0
batch_tokens = 300
[checkpoint]
directory = "run"
""")
        self.good("convert", GOLDEN / "shards", "init.h5")
        for init, directory in ((GOLDEN / "shards", "from_folder"), ("init.h5", "from_checkpoint")):
            self.good("pretrain", "deck.toml", "--init", init, "--set", f"checkpoint.directory={directory}", ranks=2)
        # A step of rate 0 leaves the weights as they were.
        expected, _ = read_checkpoint("init.h5")
        for directory in ("from_folder", "from_checkpoint"):
            with h5py.File(f"{directory}/step_00000001.h5") as file:
                for key, array in expected.items():
                    self.assertEqual(file["parameters/" + key][()].tobytes(), array.tobytes(), key)
        before = "id 14: S against A"  # the built-in order against the folder's
        for init in (GOLDEN / "shards", "init.h5"):
            self.bad(before, "pretrain", "deck.toml", "--init", init, "--set", "checkpoint.directory=never", "--set",
                     "data.corpus=other_corpus.h5", ranks=2)
            self.bad("hidden: 16 against 32", "pretrain", "deck.toml", "--init", init, "--set",
                     "checkpoint.directory=never", "--set", "model.hidden=16", ranks=2)
        self.bad("weights alone", "pretrain", "deck.toml", "--resume", "init.h5", "--set", "checkpoint.directory=never")
        # A run's folder is a checkpoint, too.
        self.good("convert", "from_folder", "trained")
        stored = read_safetensors("trained/model.safetensors")
        self.assertEqual(set(stored), set(expected))

    def hostile(self, name, content, words):
        """A folder with this file of weights, given to every program that reads folders."""
        folder = pathlib.Path("hostile_" + name)
        shutil.copytree(GOLDEN / "half", folder)
        os.remove(folder / "model.safetensors")
        file = folder / ("model.safetensors" if name.startswith("safetensors") else "pytorch_model.bin")
        content(file) if callable(content) else file.write_bytes(content)
        self.bad(words, "convert", folder, "hostile.h5")
        self.assertLess(peak_memory("convert", folder, "hostile.h5"), MOST_MEMORY, name)
        self.bad(words, "embed", "--checkpoint", folder, "proteins.fasta", "--output", "hostile.h5", ranks=2)

    def test_hostile_files(self):
        def header(text, data=b""):
            return struct.pack("<Q", len(text)) + text.encode() + data

        self.hostile("safetensors_header", struct.pack("<Q", 6 << 30) + b"{}", "a header of 6442450944 bytes")

        def sparse(file):
            # The header's gigabytes are there: eight of them, of zeros.
            with open(file, "wb") as output:
                output.write(struct.pack("<Q", 8 << 30))
                output.truncate((8 << 30) + 8)

        self.hostile("safetensors_sparse", sparse, "a header of 8589934592 bytes")
        self.hostile("safetensors_deep", header("[" * (3 << 20)), "nested too deeply")
        self.hostile("safetensors_truncated", (GOLDEN / "half" / "model.safetensors").read_bytes()[:-100], "data")
        self.hostile("safetensors_overlap", header(
            '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
            bytes(12)), "overlaps")
        self.hostile("safetensors_outside", header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[4096,4104]}}',
                                                   bytes(12)), "data_offsets")

        class Attack:
            def __reduce__(self):
                return os.system, ("touch attacked",)

        self.hostile("pickle", pickle.dumps({"a": Attack()}, protocol=2), "system")

        def zipped(compression, payload):
            def write(file):
                with zipfile.ZipFile(file, "w", compression) as archive:
                    archive.writestr("archive/data.pkl", payload)
                    archive.writestr("archive/data/0", bytes(64 << 20))

            return write

        self.hostile("zip_attack", zipped(zipfile.ZIP_STORED, pickle.dumps(Attack(), protocol=2)), "system")
        self.hostile("zip_bomb", zipped(zipfile.ZIP_DEFLATED, b"x"), "compressed")
        self.hostile("zip_truncated", (GOLDEN / "zip" / "pytorch_model.bin").read_bytes()[:-1], "directory")
        self.hostile("old_truncated", (GOLDEN / "legacy" / "pytorch_model.bin").read_bytes()[:-1], "truncated")
        self.hostile("nothing", b"", "no file of torch.save")
        self.assertFalse(os.path.exists("attacked"))

    def test_bad_calls(self):
        os.makedirs("empty", exist_ok=True)
        self.good("convert", GOLDEN / "half", "fine.h5")
        self.bad("INPUT", "convert")
        self.bad("OUTPUT", "convert", "fine.h5")
        self.bad("missing", "convert", "missing", "x", ranks=2)
        self.bad("neither checkpoints", "convert", "empty", "x")
        self.bad("proteins.fasta", "convert", "proteins.fasta", "x")
        self.bad("no folder nowhere", "convert", "fine.h5", "nowhere/x")
        self.bad("no folder nowhere", "convert", GOLDEN / "half", "nowhere/x.h5")
        self.assertIn("Hugging Face", self.good("convert", "--help"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
