"""What a deck may change when a run goes on: model and corpus never, the rest with a word about it; which checkpoints
stay; and a checkpoint on demand."""

import pathlib
import shutil
import signal
import subprocess

from runs import Job, wait_until
from pretrain import check, clean, command, finish, mpirun, prepare, pretrain, run, write_deck, write_proteins

RUN = pathlib.Path("run")


def goes_on(what, *expected, **changes):
    write_deck("changed.toml", **{**common, **changes})
    code, output = run(1, "changed.toml")
    missing = [text for text in expected if text not in output]
    check(code == 0 and not missing, f"{what} goes on (exit code {code}, missing {missing})")
    if code != 0 or missing:
        print(output)


def refused(what, *expected, **changes):
    before = {path: path.stat().st_mtime_ns for path in RUN.iterdir()}
    write_deck("changed.toml", **{**common, **changes})
    code, output = run(2, "changed.toml")
    errors = [line for line in output.splitlines() if "error:" in line]
    check(code == 2 and len(errors) == 1 and all(text in errors[0] for text in expected),
          f"{what} is refused: {errors}")
    check({path: path.stat().st_mtime_ns for path in RUN.iterdir()} == before, f"{what} touches nothing")


clean()
write_proteins("proteins.fasta", 200, 10, 80)
write_proteins("others.fasta", 200, 10, 80, seed=2)
prepare("proteins.fasta", "corpus.h5")
prepare("others.fasta", "others.h5")
shutil.copy("corpus.h5", "copy.h5")
common = dict(data_validation=None, train_steps=10, checkpoint_every=2, checkpoint_keep=1, checkpoint_keep_every=4)
write_deck("deck.toml", **common)
code, output = run(2, "deck.toml")
check(code == 0 and sorted(path.name for path in RUN.glob("step_*")) ==
      ["step_00000004.h5", "step_00000008.h5", "step_00000010.h5"], "keep and keep_every keep what they say")
write_deck("odd.toml", **{**common, "checkpoint_keep_every": 3})
code, output = run(1, "odd.toml")
check(code == 2 and "checkpoint.keep_every is 3" in output, "a keep_every between two checkpoints is refused")

goes_on("a later end", "changed since run/step_00000010.h5", "train.steps 10 -> 12", "was written by protalbert",
        train_steps=12)
goes_on("another way of running", "run.log_every not set -> 2", "checkpoint.keep 1 -> 3", train_steps=14,
        run_log_every=2, checkpoint_keep=3)
goes_on("the same corpus elsewhere", 'data.corpus \'corpus.h5\' -> \'copy.h5\'', train_steps=16, data_corpus="copy.h5")
goes_on("another learning rate", "warning: the deck trains otherwise", "train.learning_rate 0.01 -> 0.02",
        train_steps=18, train_learning_rate=0.02)
refused("another corpus", "corpus others.h5 has hash", train_steps=20, data_corpus="others.h5")
refused("another model", "hidden", train_steps=20, model_hidden=32)
refused("another model and corpus", "hidden", "layers", "others.h5 has hash", train_steps=20, model_hidden=32,
        model_layers=3, data_corpus="others.h5")

# Paths with ~ and variables: whoever goes on with the run has others. In checkpoints they stay as they were written.
home, scratch = pathlib.Path("home"), pathlib.Path("scratch place")
home.mkdir()
scratch.mkdir()
shutil.copy("corpus.h5", home / "c.h5")
shutil.copy("corpus.h5", scratch / "v.h5")
places = dict(data_corpus="~/c.h5", data_validation="${SCRATCH}/v.h5", checkpoint_directory="$SCRATCH/run", train_steps=4,
              run_metrics="$SCRATCH/m.jsonl")
write_deck("places.toml", **places)
code, output = run(2, "places.toml", HOME=str(home), SCRATCH=str(scratch))
check(code == 0 and (scratch / "run/step_00000004.h5").exists() and (scratch / "m.jsonl").exists(),
      f"~ and $SCRATCH in a deck are folders of the one who runs it (exit code {code})")
check(b"$SCRATCH/run" in (scratch / "run/step_00000004.h5").read_bytes(), "a checkpoint has them as they were written")
moved = scratch.rename("elsewhere")
code, output = run(1, "places.toml", "--set", "data.corpus=~/c.h5", "--set", "train.steps=6", HOME=str(home.resolve()),
                   SCRATCH=str(moved.resolve()))
check(code == 0 and "step_00000004.h5 was written" in output and (moved / "run/step_00000006.h5").exists()
      and "checkpoint.directory" not in output, f"the run goes on elsewhere (exit code {code})")
# Launchers hand on the environment to some machines and not to others: rank 0's counts.
parts = [["-n", "1", "env", f"SCRATCH={place}", f"HOME={home.resolve()}", pretrain, "places.toml", "--set", "train.steps=8"]
         for place in (moved, "nowhere")]
done = subprocess.run([mpirun[0], *parts[0], ":", *parts[1]], capture_output=True, text=True)
check(done.returncode == 0 and (moved / "run/step_00000008.h5").exists() and not pathlib.Path("nowhere").exists(),
      f"all ranks write where rank 0 does (exit code {done.returncode})")
check(not pathlib.Path("~").exists() and not pathlib.Path("$SCRATCH").exists(), "no folder is named ~ or $SCRATCH")

# A checkpoint on demand, after which the run goes on; the request is used up.
shutil.rmtree(RUN)
write_deck("long.toml", data_validation=None, train_steps=100000)
for ranks in 1, 2:
    job = Job(command(ranks, "long.toml"), "log.txt")
    wait_until(lambda: "\nstep 3/" in job.text(), job)
    (RUN / "save").touch()
    check(wait_until(lambda: "saved run/step_" in job.text(), job), f"touch run/save saves, {ranks} ranks")
    check(not (RUN / "save").exists(), "the request is used up")
    saved = job.text().split("saved run/step_")[1][:8]
    check(wait_until(lambda: f"step {int(saved) + 3}/" in job.text(), job), "the run goes on")
    check(job.text().count("saved run/") == 1, "it saves once")
    job.kill_all()
    job.wait(30)
    code, output = run(ranks, "long.toml", "--set", "run.time_limit=1e-9")
    check(code == 75 and f"after step {int(saved)}" in output, f"and continues from step {int(saved)}")
    shutil.rmtree(RUN)
finish()
