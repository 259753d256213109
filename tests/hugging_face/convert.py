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


def run(program, *arguments, ranks=1, environment={}):
    """Exit code and output."""
    command = [str(BUILD / ("protalbert_" + program)), *map(str, arguments)]
    if ranks > 1:
        command = [*MPIRUN, str(ranks), *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env={**os.environ, **environment})
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


def read_stored(path):
    """{name: (dtype, shape, bytes)} of a safetensors file of any type."""
    content = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    data = content[8 + length :]
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def write_stored(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def wrapped_pickle(pickled, key):
    """The pickle of {key: object}, of a pickle of protocol 2; beside it an epoch, a float and an optimizer's settings."""
    assert pickled[:2] == b"\x80\x02" and pickled[-1:] == b"."

    def text(content):
        return b"X" + struct.pack("<I", len(content)) + content.encode()

    settings = b"}(" + text("lr") + b"G" + struct.pack(">d", 1e-3) + text("params") + b"](K\x00K\x01eu"
    return (b"\x80\x02}(" + text("epoch") + b"K\x05" + text("optimizer") + settings + text(key) + pickled[2:-1] + b"u.")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 238\n"


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

    def good(self, program, *arguments, ranks=1, environment={}):
        code, text = run(program, *arguments, ranks=ranks, environment=environment)
        self.assertEqual(code, 0, text)
        return text

    def bad(self, words, program, *arguments, ranks=1, environment={}):
        before = sorted(str(path) for path in pathlib.Path(".").rglob("*"))
        code, text = run(program, *arguments, ranks=ranks, environment=environment)
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

    def folder(self, name, change=lambda tensors: tensors, form="half"):
        """A copy of a golden folder with other tensors."""
        place = pathlib.Path(name)
        shutil.copytree(GOLDEN / form, place)
        (place / "expected.safetensors").unlink()
        if form == "half":
            write_stored(place / "model.safetensors", change(read_stored(place / "model.safetensors")))
        return place

    def same_weights(self, folder, form="half", environment={}):
        """Converts a folder, whose weights are those of a golden one; what was said."""
        name = "same_" + str(folder).replace("/", "_").replace(".", "_")
        text = self.good("convert", folder, name + ".h5", "--overwrite", environment=environment)
        expected = name + "_expected.h5"
        self.good("convert", GOLDEN / form, expected, "--overwrite")
        ours, pieces = read_checkpoint(name + ".h5")
        theirs, same_pieces = read_checkpoint(expected)
        self.assertEqual(pieces, same_pieces)
        self.assertEqual(set(ours), set(theirs))
        for key, array in theirs.items():
            self.assertEqual(ours[key].tobytes(), array.tobytes(), key)
        return text

    def test_names_of_wrappers(self):
        for prefix, said in (("_orig_mod.", "without _orig_mod in their names"),
                             ("module.", "without module in their names"),
                             ("model.", "without model in their names"),
                             ("module._orig_mod.", "without _orig_mod and module in their names")):
            folder = self.folder("prefix_" + prefix, lambda tensors: {prefix + key: of for key, of in tensors.items()})
            self.assertIn(said, self.same_weights(folder))
        text = self.good("embed", "--checkpoint", "prefix_module.", "proteins.fasta", "--output", "prefix.h5", ranks=2)
        self.assertIn("without module in their names", text)

        def old(key):
            if "LayerNorm" not in key and "layer_norm" not in key:
                return key
            return key.replace("orm.weight", "orm.gamma").replace("orm.bias", "orm.beta")

        folder = self.folder("gamma", lambda tensors: {old(key): of for key, of in tensors.items()})
        self.assertNotEqual(read_stored("gamma/model.safetensors").keys(),
                            read_stored(GOLDEN / "half" / "model.safetensors").keys())
        self.assertIn("gamma and beta of layer norms are read as weight and bias", self.same_weights(folder))

    def test_dicts_in_dicts(self):
        with zipfile.ZipFile(GOLDEN / "zip" / "pytorch_model.bin") as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        pickled = next(name for name in files if name.endswith("/data.pkl"))
        for key in ("state_dict", "model", "model_state_dict"):
            folder = self.folder("wrapped_" + key, form="zip")
            with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_STORED) as archive:
                for name, content in files.items():
                    archive.writestr(name, wrapped_pickle(content, key) if name == pickled else content)
            text = self.same_weights(folder, "zip")
            self.assertIn(f"its weights are those under {key}", text)

    def test_types_are_named(self):
        def eighth(tensors):
            key = "albert.encoder.embedding_hidden_mapping_in.weight"
            _, shape, content = tensors[key]
            return {**tensors, key: ("F8_E8M0", shape, content[: len(content) // 2])}

        self.folder("eighth", eighth)
        text = self.bad("embedding_hidden_mapping_in.weight is stored as F8_E8M0, which is not read; save the model in "
                        "float32, float16 or bfloat16", "convert", "eighth", "eighth.h5", ranks=2)
        self.assertNotIn("damaged", text)
        # One that nobody needs is no matter.
        self.folder("more", lambda tensors: {**tensors, "head.scale": ("F8_E8M0", [8], bytes(8))})
        self.assertIn("head.scale: not used", self.same_weights("more"))

    def test_weights_that_are_no_numbers(self):
        ffn = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.bias"
        # Embedding does not need a pooler, but whoever has such a file should know.
        for name, bits, key, size in (("nan", 0x7E00, ffn, 40), ("infinite", 0xFC00, ffn, 40),
                                      ("pooler", 0x7E00, "albert.pooler.bias", 64)):
            def spoil(tensors):
                dtype, shape, content = tensors[key]
                return {**tensors, key: (dtype, shape, content[:6] + struct.pack("<H", bits) + content[8:])}

            folder = self.folder("spoilt_" + name, spoil)
            words = (f"tensor {key}: 1 of its {size} values is no finite number, the first is "
                     f"{'-inf' if name == 'infinite' else 'nan'} at [3]")
            for ranks in (1, 2):
                text = self.bad(words, "convert", folder, "spoilt.h5", ranks=ranks)
                self.assertIn("beyond 65504", text)
                self.bad(words, "embed", "--checkpoint", folder, "proteins.fasta", "--output", "spoilt.h5", ranks=ranks)
            self.bad(words, "bench", "stability", "--checkpoint", folder, "--fasta", "proteins.fasta")

    def test_padded_vocabulary(self):
        padded = {"albert.embeddings.word_embeddings.weight": 6, "predictions.bias": 6}

        def pad(tensors):
            for key, rows in padded.items():
                dtype, (old, *rest), content = tensors[key]
                more = numpy.arange(rows * (rest[0] if rest else 1)).astype("<f2").tobytes()
                tensors[key] = (dtype, [old + rows, *rest], content + more)
            return tensors

        folder = self.folder("padded", pad)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 40}))
        text = self.good("convert", folder, "padded.h5")
        self.assertIn("have 40 rows for 34 pieces", text)
        arrays, pieces = read_checkpoint("padded.h5")
        self.assertEqual(len(pieces), 34)
        stored = read_stored(folder / "model.safetensors")
        self.assertEqual(set(arrays), set(stored))
        for key, (_, shape, content) in stored.items():
            numpy.testing.assert_array_equal(arrays[key], numpy.frombuffer(content, "<f2").reshape(shape), err_msg=key)
        # Out again, and in.
        self.good("convert", "padded.h5", "padded_out")
        self.assertEqual(json.loads(pathlib.Path("padded_out/config.json").read_text())["vocab_size"], 40)
        self.good("convert", "padded_out", "padded_again.h5")
        again, same_pieces = read_checkpoint("padded_again.h5")
        self.assertEqual(pieces, same_pieces)
        for key, array in arrays.items():
            self.assertEqual(array.tobytes(), again[key].tobytes(), key)
        # Vectors are those of the model without the rows.
        for name, checkpoint in (("narrow", GOLDEN / "half"), ("wide", "padded"), ("wide_file", "padded.h5")):
            self.good("embed", "--checkpoint", checkpoint, "proteins.fasta", "--output", f"embedded_{name}.h5")
        with h5py.File("embedded_narrow.h5") as one:
            for name in ("wide", "wide_file"):
                with h5py.File(f"embedded_{name}.h5") as two:
                    self.assertEqual(one["residues"][()].tobytes(), two["residues"][()].tobytes())
        # Training goes on where the deck says how many rows there are.
        self.good("prepare", "proteins.fasta", "--output", "padded_corpus.h5", "--vocabulary", GOLDEN / "half" / "vocab.txt")
        pathlib.Path("padded.toml").write_text(f"""
[model]
layers = {config["num_hidden_layers"]}
hidden = {config["hidden_size"]}
intermediate = {config["intermediate_size"]}
heads = {config["num_attention_heads"]}
embedding = {config["embedding_size"]}
positions = {config["max_position_embeddings"]}
[data]
corpus = "padded_corpus.h5"
max_length = 24
[train]
global_batch = 5
steps = 1
warmup = 0
learning_rate = 0.0
batch_tokens = 300
[checkpoint]
directory = "padded_run"
""")
        self.bad("vocabulary: 34 against 40; make [model] the same", "pretrain", "padded.toml", "--init", folder, ranks=2)
        self.bad("model.vocabulary is 33, but corpus padded_corpus.h5 has 34 pieces", "pretrain", "padded.toml", "--set",
                 "model.vocabulary=33")
        self.bad("by --init", "pretrain", "padded.toml", "--resume", folder)
        self.good("pretrain", "padded.toml", "--init", folder, "--set", "model.vocabulary=40", ranks=2)
        with h5py.File("padded_run/step_00000001.h5") as file:
            self.assertEqual(len(file["vocabulary"]), 34)
            for key, array in arrays.items():
                self.assertEqual(file["parameters/" + key][()].tobytes(), array.tobytes(), key)
        text = self.good("pretrain", "padded.toml", "--set", "model.vocabulary=40", "--set", "train.steps=2")
        self.assertTrue(os.path.exists("padded_run/step_00000002.h5"), text)

    def test_places_of_models(self):
        """Ids and caches of the hub, files of a model, and what else is no model."""
        snapshot = pathlib.Path("home/hub/models--Some--albert-x.1/snapshots/0123abc")
        model = snapshot.parent.parent
        (model / "blobs").mkdir(parents=True)
        (model / "refs").mkdir()
        snapshot.mkdir(parents=True)
        for number, file in enumerate(sorted((GOLDEN / "half").iterdir())):
            shutil.copy(file, model / "blobs" / str(number))
            (snapshot / file.name).symlink_to(f"../../blobs/{number}")
        (model / "refs" / "main").write_text("0123abc")
        home = str(pathlib.Path("home").resolve())
        for variables in ({"HF_HOME": home}, {"HF_HUB_CACHE": home + "/hub", "HF_HOME": "/nowhere"},
                          {"HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": home + "/hub"}):
            text = self.good("embed", "--checkpoint", "Some/albert-x.1", "proteins.fasta", "--output", "hub.h5",
                             "--overwrite", ranks=2, environment=variables)
            self.assertIn("snapshots/0123abc", text)
            self.assertIn("read from the hub's cache", text)
        os.makedirs("xdg")
        os.symlink(home, "xdg/huggingface")
        clean = {name: "" for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")}
        self.good("convert", "https://huggingface.co/Some/albert-x.1/tree/main", "hub_address.h5",
                  environment={**clean, "XDG_CACHE_HOME": os.path.abspath("xdg")})
        os.makedirs("user/.cache")
        os.symlink(home, "user/.cache/huggingface")
        self.good("convert", "Some/albert-x.1", "hub_home.h5",
                  environment={**clean, "XDG_CACHE_HOME": "", "HOME": os.path.abspath("user")})
        # What is here goes before what the hub may have.
        shutil.copytree(GOLDEN / "shards", "Some/albert-x.1")
        text = self.good("convert", "Some/albert-x.1", "hub_local.h5", environment={"HF_HOME": home})
        self.assertNotIn("cache", text)
        self.bad("hf download Other/one --local-dir one, then give the folder one", "convert", "Other/one", "hub_other.h5",
                 ranks=2, environment={"HF_HOME": home})
        self.bad("Some/other: No such file or directory", "convert", "Some/other", "hub_other.h5")
        # The folders of the cache, and files within.
        for name, place in (("model", model), ("slash", str(model) + "/"), ("snapshots", snapshot.parent)):
            self.good("convert", place, f"hub_{name}.h5")
        self.bad("models--Some--albert-x.1", "convert", "home/hub", "hub_none.h5")
        self.bad(f"give the folder: {snapshot}", "convert", snapshot / "model.safetensors", "hub_none.h5")
        self.bad(f"give the folder: {model}", "convert", model / "blobs" / "2", "hub_none.h5")
        self.good("convert", model, "hub_advised.h5")
        second = snapshot.parent / "4567def"
        shutil.copytree(GOLDEN / "zip", second)
        self.good("convert", model, "hub_main.h5")
        (model / "refs" / "main").unlink()
        self.bad("give the folder of one: 0123abc or 4567def", "convert", model, "hub_none.h5")
        self.good("convert", second, "hub_second.h5")
        shutil.rmtree(second)
        self.good("convert", model, "hub_only.h5")
        shutil.rmtree(model / "blobs")
        self.bad("link", "convert", snapshot, "hub_none.h5")

        for name in ("model.safetensors", "config.json", "vocab.txt"):
            self.bad(f"give the folder: {GOLDEN / 'half'}", "embed", "--checkpoint", GOLDEN / "half" / name,
                     "proteins.fasta", "--output", "hub_none.h5", ranks=2)
        self.bad("give the folder", "convert", GOLDEN / "zip" / "pytorch_model.bin", "hub_none.h5")
        self.bad("give the folder", "convert", GOLDEN / "legacy" / "pytorch_model.bin", "hub_none.h5")
        os.makedirs("alone")
        shutil.copy(GOLDEN / "half" / "model.safetensors", "alone")
        self.bad("not enough by itself", "convert", "alone/model.safetensors", "hub_none.h5")
        self.bad("download the config.json", "convert", "alone", "hub_none.h5")
        shutil.copy(GOLDEN / "half" / "config.json", "alone")
        self.bad("--vocabulary", "convert", "alone", "hub_none.h5")
        # A tokenizer.json is a vocabulary; that of a folder which was written before.
        self.good("convert", "hub_only.h5", "hub_written")
        shutil.copy("hub_written/tokenizer.json", "alone")
        self.same_weights("alone")
        # Other names: what the message says is done, and then it works.
        os.rename("alone/model.safetensors", "alone/model.fp16.safetensors")
        text = self.bad("would be read under the name model.safetensors", "convert", "alone", "hub_none.h5")
        subprocess.run(text[text.index("ln -s "):].splitlines()[0], shell=True, check=True)
        self.same_weights("alone")
        os.makedirs("adapter")
        pathlib.Path("adapter/adapter_config.json").write_text("{}")
        shutil.copy(GOLDEN / "half" / "model.safetensors", "adapter/adapter_model.safetensors")
        self.bad("merge_and_unload", "convert", "adapter", "hub_none.h5")
        os.makedirs("trainer")
        shutil.copytree(GOLDEN / "half", "trainer/checkpoint-500")
        self.bad("checkpoint-500", "convert", "trainer", "hub_none.h5")

    def test_pointers_of_git_lfs(self):
        for name, form in (("model.safetensors", "half"), ("pytorch_model.bin", "zip"), ("spiece.model", "zip"),
                           ("config.json", "half"), ("vocab.txt", "half")):
            folder = self.folder("pointer_" + name, form=form)
            (folder / name).write_text(POINTER)
            text = self.bad("git lfs pull", "convert", folder, "pointer.h5")
            self.assertIn(f"{folder}/{name}", text)
        pathlib.Path("pointer.model").write_text(POINTER)
        self.bad("git lfs pull", "convert", GOLDEN / "half", "pointer.h5", "--vocabulary", "pointer.model")
        self.bad("git lfs pull", "prepare", "proteins.fasta", "--output", "pointer.h5", "--vocabulary", "pointer.model")
        self.bad("git lfs pull", "convert", "pointer.model", "pointer.h5")

    def test_damaged_checkpoint_leaves_nothing(self):
        self.good("convert", GOLDEN / "half", "damaged.h5")
        with h5py.File("damaged.h5") as file:
            place = file["parameters/sop_classifier.classifier.bias"].id.get_offset()
        with open("damaged.h5", "r+b") as file:
            file.seek(place)
            file.write(b"\xff\xff\xff\x3f")
        self.bad("sop_classifier.classifier.bias is wrong", "convert", "damaged.h5", "damaged", ranks=2)

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
