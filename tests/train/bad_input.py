"""Bad decks, corpora, checkpoints and options: exit code 2 and one message within seconds, with nothing touched."""

import concurrent.futures
import fcntl
import os
import pathlib
import shutil
import threading
import time

from pretrain import check, clean, finish, prepare, run, write_deck, write_proteins

SECONDS = 60  # mostly for starting ranks on a busy machine; a program that hangs takes for ever
cases = []  # (what, expected part of the message, arguments, ranks)


def files():
    return sorted((str(path), path.stat().st_mtime_ns) for path in pathlib.Path(".").rglob("*") if path.is_file())


def refused(what, expected, *arguments, ranks=2):
    cases.append((what, expected, arguments, ranks))


def refused_deck(what, expected, **changes):
    deck = f"bad_{len(cases)}.toml"
    write_deck(deck, **changes)
    refused(what, expected, deck)


def run_case(case):
    what, expected, arguments, ranks = case
    begin = time.monotonic()
    code, output = run(ranks, *arguments, seconds=2 * SECONDS)
    seconds = time.monotonic() - begin
    errors = [line for line in output.splitlines() if "error:" in line]
    good = code == 2 and len(errors) == 1 and expected in errors[0] and seconds < SECONDS
    return good, f"{what}, {ranks} ranks: {errors[0] if errors else 'no message'}", (
        f"exit code {code}, {seconds:.1f} s, expected '{expected}' in the message\n{output}")


clean()
write_proteins("proteins.fasta", 200, 10, 60)
prepare("proteins.fasta", "corpus.h5", "--holdout", "0.2")
write_deck("deck.toml", train_steps=2)
code, output = run(1, "deck.toml")
check(code == 0, "the deck itself is good")
checkpoint = pathlib.Path("run/step_00000002.h5")

# The command line
refused("no deck", "DECK")
refused("a deck that is missing", "nowhere.toml", "nowhere.toml")
refused("an option that is unknown", "--stesp", "deck.toml", "--stesp", "3")
refused("--set without a value", "train.steps", "deck.toml", "--set", "train.steps")
refused("--dump-step without a file", "--dump-file", "deck.toml", "--dump-step", "0")
refused("--dump-step after the end", "--dump-step 2", "deck.toml", "--resume", "never", "--dump-step", "2", "--dump-file",
        "dump.h5")
refused("a device that is unknown", "device", "deck.toml", "--device", "abacus")
refused("one rank alone", "train.stepz", "deck.toml", "--set", "train.stepz=3", ranks=1)

# The deck
pathlib.Path("broken.toml").write_text("[data\ncorpus = 3\n")
refused("a deck that is no TOML", "broken.toml:1", "broken.toml")
refused_deck("a misspelt key", "train.steps", train_stepz=3)
refused_deck("a number where text belongs", "data.corpus", data_corpus=3)
refused_deck("a value out of range", "data.masked_fraction", data_masked_fraction=1.5)
refused_deck("samples beyond the position table", "data.max_length", data_max_length=500)
refused_deck("heads that do not divide", "model.hidden", model_heads=3)
refused_deck("a corpus that is missing", "data.corpus: corpus nowhere.h5", data_corpus="nowhere.h5")
refused_deck("a validation corpus that is missing", "data.validation: corpus nowhere.h5", data_validation="nowhere.h5")
refused_deck("a corpus that is none", "proteins.fasta", data_corpus="proteins.fasta")
refused_deck("a checkpoint in place of a corpus", "step_00000002.h5", data_corpus=str(checkpoint))
refused_deck("a file in place of the folder", "proteins.fasta", checkpoint_directory="proteins.fasta")

refused_deck("a variable that is not set", "corpus is \"$NOT_SET_HERE/c.h5\": the environment variable NOT_SET_HERE is not set",
             data_corpus="$NOT_SET_HERE/c.h5")
refused_deck("another user's home", "directory is \"~somebody/run\"", checkpoint_directory="~somebody/run")
refused_deck("a command in a path", "run.metrics is \"$(pwd)/m\"", run_metrics="$(pwd)/m")
refused("the same of --set", "--set data.corpus is \"$$/c.h5\"", "deck.toml", "--set", "data.corpus=$$/c.h5")
pathlib.Path("wide_letters.toml").write_bytes(pathlib.Path("deck.toml").read_text().encode("utf-16"))
refused("a deck in UTF-16", "iconv -f UTF-16", "wide_letters.toml")
pathlib.Path("latin1.toml").write_bytes(b"# d\xe9j\xe0 vu\n" + pathlib.Path("deck.toml").read_bytes())
refused("a deck in Latin-1", "latin1.toml:1: # d\\xe9j\\xe0 vu is not UTF-8", "latin1.toml")
pathlib.Path("pointer.toml").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
refused("a pointer of Git LFS", "git lfs pull", "pointer.toml")
refused("a corpus in place of the deck", "is an HDF5 file", "corpus.h5")
refused("a deck through <(...)", "a shell's <(...) does not reach", "/dev/fd/63")

# Checkpoints
refused_deck("another model", "hidden", model_hidden=32)
refused("a checkpoint that is missing", "nowhere", "deck.toml", "--resume", "nowhere")
refused("a folder without checkpoints", "no checkpoint", "deck.toml", "--resume", ".")
refused("weights that are missing", "nowhere", "deck.toml", "--resume", "never", "--init", "nowhere")
write_deck("wide.toml", model_hidden=32, checkpoint_directory="wide")
refused("weights of another model", "hidden", "wide.toml", "--init", "run")
write_deck("long.toml", model_positions=256, checkpoint_directory="long")
refused("another position table", "positions", "long.toml", "--init", "run")
shutil.copy(checkpoint, "damaged.h5")
with open("damaged.h5", "r+b") as file:
    file.truncate(checkpoint.stat().st_size // 2)
refused("a damaged checkpoint", "damaged.h5", "deck.toml", "--resume", "damaged.h5")
refused("damaged weights", "damaged.h5", "deck.toml", "--resume", "never", "--init", "damaged.h5")

pieces = "\n".join(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *"WYVTSRQPNMLKIHGFEDCAX"])
pathlib.Path("vocabulary.txt").write_text(pieces + "\n")
prepare("proteins.fasta", "other.h5", "--vocabulary", "vocabulary.txt")
refused_deck("another vocabulary than the checkpoint's", "run", data_corpus="other.h5", data_validation=None)
refused_deck("two vocabularies", "corpus.validation.h5", data_corpus="other.h5", checkpoint_directory="new")

before = files()
with concurrent.futures.ThreadPoolExecutor(4) as pool:  # the ranks of a failed program mostly wait for each other
    for good, line, details in pool.map(run_case, cases):
        check(good, line)
        if not good:
            print(details)

# The folder of another run, which holds it as a program does.
holder = os.open("run/.lock", os.O_RDWR)
fcntl.flock(holder, fcntl.LOCK_EX)
good, line, details = run_case(("a folder in which a run is at work", "another run is at work in run",
                                ("deck.toml", "--set", "train.steps=3"), 2))
check(good, line)
check(files() == before, "no file was made or changed")
threading.Timer(2, lambda: os.close(holder)).start()
code, output = run(2, "deck.toml", "--set", "train.steps=3")
check(code == 0 and "waiting for its end" in output, "a run that comes too early waits for the end of the other")
finish()
