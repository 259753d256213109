"""A save whose bytes do not read back as they were written, as with a faulty disk: the run says so, keeps the checkpoint
before it and goes on; the next save is whole."""

import pathlib
import time

from runs import Job, wait_until
from pretrain import check, clean, command, finish, metrics, prepare, run, write_deck, write_proteins

STEPS = 40
# Feed-forward weights of 128 KiB each, so that the middle of a checkpoint's 1.1 MB lies in an array.
LARGER = dict(model_hidden=64, model_intermediate=512)
MIDDLE = 550_000
# Bytes a second: a save takes a second or more, time to change what is written of it before it is read back.
SLOW = {"PROTALBERT_SLOW_WRITE": "500000"}

clean()
write_proteins("proteins.fasta", 300, 10, 120)
prepare("proteins.fasta", "corpus.h5")
write_deck("deck.toml", data_validation=None, train_steps=STEPS, checkpoint_every=10, checkpoint_keep=2, **LARGER)
code, output = run(1, "deck.toml", "--set", "checkpoint.directory=whole")
check(code == 0, "an undisturbed run ends well")

for ranks in 1, 2:
    write_deck("deck.toml", data_validation=None, train_steps=STEPS, checkpoint_every=10, checkpoint_keep=2,
               checkpoint_directory=f"run{ranks}", **LARGER)
    job = Job(command(ranks, "deck.toml"), "log.txt", **SLOW)
    part = pathlib.Path(f"run{ranks}/step_00000020.h5.part")
    wait_until(part.exists, job)

    def middle():
        """Bytes of an array in the middle of the whole file: zeros until it is written."""
        try:
            data = part.read_bytes()
        except FileNotFoundError:
            return b""
        return data[MIDDLE : MIDDLE + 4096]

    wait_until(lambda: any(middle()), job)
    with open(part, "r+b") as file:
        place = MIDDLE + next(i for i, byte in enumerate(middle()) if byte)
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 64]))
    code = job.wait(240)
    text = job.text()
    check(code == 0, f"{ranks} ranks: the run goes on to its end (exit code {code})")
    check("step_00000020.h5" in text and "reads back otherwise than it was written" in text,
          f"{ranks} ranks: it says which save failed and why")
    files = sorted(path.name for path in pathlib.Path(f"run{ranks}").iterdir() if path.name != ".lock")
    check(files == ["metrics.jsonl", "step_00000030.h5", "step_00000040.h5"],
          f"{ranks} ranks: the saves after it are there and no remains ({files})")
    check([line["step"] for line in metrics(f"run{ranks}")] == list(range(STEPS)), f"{ranks} ranks: no step is lost")
finish()
