"""The job scripts under real Slurm: the time limit strikes twice and the run ends as if nothing had happened; failures,
killed and cancelled jobs stay ended; phase 2 follows phase 1; an array embeds a folder."""

import gzip
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from cluster import CannotStart, Cluster, output
from pretrain import build, check, clean, failures, finish, metrics, prepare, run, write_deck, write_proteins

repository = pathlib.Path(__file__).resolve().parents[2]
STEPS = 200


def submit(script, *options, machine="workstation", **settings):
    """The number of the submitted job."""
    environment = {**os.environ, "PROTALBERT_HOME": str(repository), "BUILD": str(build), "MACHINE": machine,
                   "OMP_NUM_THREADS": "1", **settings}
    done = subprocess.run(["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", *options,
                           repository / "jobscripts" / script], env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: sbatch does not take {script}")
    return done.stdout.strip()


def job(number):
    """What Slurm knows of a job or one task of an array."""
    return dict(re.findall(r"(\w+)=(\S*)", output("scontrol", "show", "job", "--oneliner", number)))


def wait(what, condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            print(output("squeue"))
            for log in sorted(pathlib.Path(".").glob("*.log")):
                if not log.name.startswith("slurm"):
                    print(f"--- {log}\n{log.read_text()[-3000:]}")
            sys.exit(f"FAILED: {what} did not come within {seconds} s")
        time.sleep(0.02)


def ended(number):
    return job(number).get("JobState", "") not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "")


def text(log):
    path = pathlib.Path(log)
    return path.read_text() if path.exists() else ""


def ranks_of(deck):
    """Processes of the program that runs this deck."""
    found = []
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"protalbert_pretrain") and str(deck).encode() in words:
            found.append(int(place.name))
    return found


def signals_sent():
    """SIGUSR1 from Slurm so far, counted once a node."""
    return sum(len(re.findall(r"Sent signal 10 to", text(f"slurmd.node{node}.log"))) for node in (1, 2))


def steps(folder):
    path = pathlib.Path(folder) / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def losses(folder):
    return [(line["step"], line["loss"]) for line in metrics(folder)]


def hold_until_the_limit(deck, folder):
    """Stops the ranks in the middle of the run, so that the time limit finds them there however fast they are."""
    before, sent = steps(folder), signals_sent()
    wait("the next steps", lambda: steps(folder) >= before + 5)
    ranks = ranks_of(deck)
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)
    wait("Slurm's signal ahead of the time limit", lambda: signals_sent() > sent, 60)
    for rank in ranks:
        os.kill(rank, signal.SIGCONT)
    return steps(folder)


def test_phases():
    deck = pathlib.Path("phase1.toml").resolve()
    first = submit("phase1.slurm", "--time=1", "--signal=USR1@25", DECK=str(deck))
    second = submit("phase2.slurm", "--time=30", f"--dependency=afterok:{first}", machine="cpu_cluster",
                    DECK="phase2.toml")
    stops = []
    for restart in (1, 2):
        stops.append(hold_until_the_limit(deck, "phase1"))
        wait(f"restart {restart}", lambda: int(job(first)["Restarts"]) >= restart)
        check(job(second)["JobState"] == "PENDING", "phase 2 waits for a phase 1 that is back in the queue")
    # So that the limit strikes twice however slow the machine is.
    subprocess.run(["scontrol", "update", f"JobId={first}", "TimeLimit=30"], check=True)
    wait("the end of phase 1", lambda: ended(first))
    log = text(f"phase1.{first}.log")
    check(stops[0] < stops[1] < STEPS, f"the time limit struck after steps {stops} of {STEPS}")
    check(job(first)["JobState"] == "COMPLETED" and job(first)["Restarts"] == "2", "phase 1 restarted twice and completed")
    check(log.count("stopped by a signal") == 2 and log.count("back into the queue") == 2, "each stop is in the log")
    check(all(f"restart {number} (SLURM_RESTART_COUNT)" in log for number in (0, 1, 2)), "and each start")
    check(losses("phase1") == losses("whole"), "every step is there once, with the losses of the uninterrupted run")

    wait("the end of phase 2", lambda: ended(second))
    check(job(second)["JobState"] == "COMPLETED", "phase 2 started after phase 1 and completed")
    check(f"phase1/step_{STEPS:08}.h5" in text(f"phase2.{second}.log"), "from phase 1's last checkpoint")


def test_failures():
    write_deck("bad.toml", train_stepz=1)
    bad = submit("phase1.slurm", "--time=2-01:00:00", "--job-name=bad", DECK="bad.toml")
    unknown = submit("phase1.slurm", "--time=30", "--job-name=unknown", machine="nowhere")
    no_pmix = submit("phase1.slurm", "--time=30", "--job-name=no_pmix", machine="./no_pmix.profile")
    elsewhere = submit("phase1.slurm", "--time=30", "--job-name=elsewhere", PROTALBERT_HOME="elsewhere")
    programs = pathlib.Path("tells_environment").resolve()
    programs.mkdir()
    (programs / "protalbert_pretrain").write_text("#!/bin/sh\necho LIBRARIES=$LIBRARIES\nexit 2\n")
    (programs / "protalbert_pretrain").chmod(0o755)
    pathlib.Path("module.profile").write_text("export LIBRARIES=there\n")
    exported = submit("phase1.slurm", "--time=30", "--nodes=1", "--job-name=exported",
                      f"--export=MACHINE=./module.profile,PROTALBERT_HOME={repository},BUILD={programs}")
    for number, name, message in ((bad, "bad", "train.stepz"), (unknown, "unknown", "MACHINE=nowhere"),
                                  (no_pmix, "no_pmix", "cannot start MPI programs by --mpi=pmix_v99"),
                                  (elsewhere, "elsewhere", "set PROTALBERT_HOME"),
                                  (exported, "exported", "LIBRARIES=there")):
        wait(f"the end of job {name}", lambda: ended(number))
        known = job(number)
        check(known["JobState"] == "FAILED" and known["ExitCode"] == "2:0" and known["Restarts"] == "0",
              f"job {name} fails with 2 and is not started again")
        check(text(f"{name}.{number}.log").count(message) == 1, f"its log says why: {message}")
    told = re.search(r"stop by itself within (\d+) s", text(f"bad.{bad}.log"))
    check(told and 0 <= 49 * 3600 - 300 - int(told[1]) < 60, "a long job's program is told its time limit")


def test_killed():
    """One rank of a job on two nodes dies as by the out-of-memory killer."""
    deck = pathlib.Path("killed.toml").resolve()
    number = submit("phase1.slurm", "--time=30", "--job-name=killed", DECK=str(deck))
    wait("steps of the run with a rank to kill", lambda: steps("killed") >= 3)
    os.kill(ranks_of(deck)[0], signal.SIGKILL)
    # Slurm gives the other rank KillWait, 10 s here, to end.
    wait("the end of the run with a killed rank", lambda: ended(number), 40)
    known, log = job(number), text(f"killed.{number}.log")
    check(known["JobState"] == "FAILED" and known["Restarts"] == "0" and not ranks_of(deck),
          "a job that has lost a rank fails, on all nodes, and is not started again")
    check(re.search(r"task \d: Killed", log) and log.count("FAILED with exit code 137") == 1 and "submit again" in log,
          "its log says that a task was killed, and what to do")


def test_own_limit():
    """A run that is told its time limit stops by itself; and the user's options come after the machine's."""
    limit = 8  # seconds; the run takes less on most machines, and restarts once more where not
    deck = pathlib.Path("limited.toml").resolve()
    number = submit("phase1.slurm", "--time=30", "--job-name=limited", machine="gpu_cluster", DECK=str(deck),
                    PROTALBERT_OPTIONS=f"--device cpu --set train.precision=float32 --set run.time_limit={limit}")
    wait("steps of the limited run", lambda: steps("limited") >= 5)
    sent, ranks = signals_sent(), ranks_of(deck)
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)
    time.sleep(limit)
    for rank in ranks:
        os.kill(rank, signal.SIGCONT)
    wait("the end of the limited run", lambda: ended(number))
    known, log = job(number), text(f"limited.{number}.log")
    check(known["JobState"] == "COMPLETED" and int(known["Restarts"]) >= 1 and signals_sent() == sent,
          f"a run that knows its limit stops without a signal and goes on ({known['Restarts']} restarts)")
    check(log.count("stopped by the time limit") == log.count("back into the queue") == int(known["Restarts"]),
          "each stop is in the log")
    check(losses("limited") == losses("whole"), "every step is there once, with the losses of the uninterrupted run")


def test_cancelled():
    deck = pathlib.Path("long.toml").resolve()
    number = submit("phase1.slurm", "--time=30", "--job-name=long", DECK=str(deck))
    wait("steps of the long run", lambda: steps("long") >= 3)
    subprocess.run(["scancel", number], check=True)
    wait("the end of the long run", lambda: ended(number) and not ranks_of(deck))
    check(job(number)["JobState"] == "CANCELLED" and job(number)["Restarts"] == "0", "a cancelled job stays cancelled")
    check(any(pathlib.Path("long").glob("step_*.h5")), "and has saved its state")


def test_array():
    """Each task's program is stopped once; then the same folder with more files, under a limit too short for it."""
    folder = pathlib.Path("proteins")
    folder.mkdir()
    for number in range(4):
        write_proteins(folder / f"part{number}.fasta", 20, 10, 60, seed=number)
    (folder / "part4.faa.gz").write_bytes(gzip.compress((folder / "part0.fasta").read_bytes()))
    (folder / "notes.txt").write_text("not a protein")
    programs = pathlib.Path("stopped_once")
    programs.mkdir()
    (programs / "protalbert_embed").write_text(f"""#!/usr/bin/env bash
# Stops once for each task, on its second file or its only one; the second task's before it listens to signals.
marker=stopped_once/$SLURM_ARRAY_TASK_ID
if [ ! -e $marker ] && [[ $* =~ part[234]\\.fa ]]; then
    touch $marker
    [ $SLURM_ARRAY_TASK_ID = 2 ] || exit 75
    kill -USR1 $$
fi
exec {build}/protalbert_embed "$@"
""")
    (programs / "protalbert_embed").chmod(0o755)
    number = submit("embed.slurm", "--array=1-3", "--nodes=1", "--time=30", CHECKPOINT="whole", INPUT="proteins",
                    OUTPUT="vectors", BUILD=str(programs.resolve()))
    tasks = [f"{number}_{task}" for task in (1, 2, 3)]
    wait("the end of the array", lambda: all(ended(task) for task in tasks))
    check(all(job(task)["JobState"] == "COMPLETED" for task in tasks), "all tasks of the array completed")
    check([job(task)["Restarts"] for task in tasks] == ["1", "1", "1"], "each that was stopped restarted once, alone")
    check(sorted(path.name for path in pathlib.Path("vectors").iterdir()) ==
          ["part0.fasta.h5", "part1.fasta.h5", "part2.fasta.h5", "part3.fasta.h5", "part4.faa.gz.h5"],
          "every file has its vectors")
    log = text(f"embed.{number}_1.log")
    check(log.count("file 1 of 5") == 1 and log.count("file 4 of 5") == 2, "a restart begins with the file that was stopped")

    before = {path.name: path.stat().st_mtime_ns for path in pathlib.Path("vectors").iterdir()}
    (folder / "part5.fasta").write_text(">bad\nMK1L\n")
    write_proteins(folder / "part6.fasta", 3, 10, 60, seed=6)
    number = submit("embed.slurm", "--array=0", "--nodes=1", "--time=1", CHECKPOINT="whole", INPUT="proteins",
                    OUTPUT="vectors", PROTALBERT_OPTIONS="--invalid error")
    wait("the end of the second array", lambda: ended(f"{number}_0"))
    known, log = job(f"{number}_0"), text(f"embed.{number}_0.log")
    check(known["Restarts"] == "1" and "nothing to do" in log, "near the limit no file is begun; the next start goes on")
    check(known["JobState"] == "FAILED" and known["ExitCode"] == "2:0", "a task with a bad file fails and stays ended")
    check("part5.fasta failed with exit code 2" in log, "its log names the file")
    check(pathlib.Path("vectors/part6.fasta.h5").exists(), "the file after it is embedded")
    # The options of an embedding are among its file's attributes.
    check(b"--residues none" in pathlib.Path("vectors/part6.fasta.h5").read_bytes(),
          "without vectors of residues, which nobody asked for")
    check(all(pathlib.Path("vectors", name).stat().st_mtime_ns == time for name, time in before.items()),
          "finished outputs are left alone")


def test_scaling():
    """scaling.slurm with a tiny model on one rank and two, and its report."""
    number = submit("scaling.slurm", "--time=30", "--job-name=scaling", RANKS="1 2", STRONG_BATCH="8", WEAK_BATCH="4",
                    BENCH_OPTIONS="--hidden 64 --layers 2 --positions 64 --length 64 --steps 3",
                    COLLECTIVES_OPTIONS="--hidden 64 --positions 64",
                    HDF5_MEGABYTES="2")
    wait("the end of the scaling job", lambda: ended(number), 240)
    check(job(number)["JobState"] == "COMPLETED", "the scaling job completed")
    folder = pathlib.Path(f"scaling.{number}")
    table = text(folder / "report.md")
    check(all(f"| {kind} | 2 |" in table for kind in ("strong", "weak")), "its table has strong and weak scaling")
    check(len(list(folder.glob("*.log"))) == 6, "the raw outputs of all runs are kept")
    code = subprocess.run([sys.executable, repository / "jobscripts/scaling_report.py", "vectors"],
                          capture_output=True, text=True)
    check(code.returncode == 2 and "vectors" in code.stderr, "a folder without results is bad input")


def test_ablations():
    """ablations.slurm with the tiny models: one of them, a job of an array, and the report."""
    script = repository / "jobscripts/ablations.sh"
    environment = {**os.environ, "BUILD": str(build)}
    subprocess.run([script, "proteins.fasta", "--quick", "--output", "ablations", "--prepare"], env=environment, check=True,
                   stdout=subprocess.DEVNULL)
    names = subprocess.run([script, "--quick", "--list"], env=environment, check=True, stdout=subprocess.PIPE,
                           text=True).stdout.split()
    place = names.index("task_nsp")
    number = submit("ablations.slurm", f"--array={place}", "--time=30", "--job-name=ablations", "--output=ablations.log",
                    SIZE="--quick", OUTPUT="ablations",
                    PROTALBERT_OPTIONS="--set train.steps=6 --set run.validate_every=3 --set run.validation_sequences=8")
    wait("the end of the ablation job", lambda: ended(f"{number}_{place}"), 240)
    check(job(f"{number}_{place}")["JobState"] == "COMPLETED", "the job of one of ALBERT's experiments completed")
    folders = sorted(path.parent for path in pathlib.Path("ablations").glob("*/*/finished"))
    check([str(folder) for folder in folders] == ["ablations/task_nsp/seed1", "ablations/task_nsp/seed2"],
          "it trained its model alone, with both seeds")
    report = text("ablations/report.md")
    check("2 runs are finished" in report and all((folder / "sentence.json").exists() for folder in folders),
          "measured it, and reported it")


def test_machine_files():
    """Each machine has both files, and its .inc has Makefile.inc's keys."""
    machines = repository / "jobscripts" / "machines"
    keys = lambda path: re.findall(r"^(\w+) *=", path.read_text(), re.MULTILINE)
    names = sorted({path.stem for path in machines.iterdir()})
    check({"cpu_cluster", "gpu_cluster", "workstation"} <= set(names), f"machines: {', '.join(names)}")
    for name in names:
        check(keys(machines / f"{name}.inc") == keys(repository / "Makefile.inc"), f"{name}.inc has Makefile.inc's keys")
        profile = (machines / f"{name}.profile").read_text()
        check("Last tested: " in profile or "Not yet run on this machine" in profile, f"{name}.profile says when it ran last")


signal.signal(signal.SIGTERM, lambda *_: sys.exit("FAILED: stopped by a signal"))  # not without ending the daemons
clean()
test_machine_files()
write_proteins("proteins.fasta", 300, 10, 120)
prepare("proteins.fasta", "corpus.h5")
deck = dict(data_validation=None, model_hidden=64, model_intermediate=256, train_global_batch=16, train_warmup=20,
            train_reproducible=True, run_log_every=1)
write_deck("phase1.toml", **deck, train_steps=STEPS, checkpoint_directory="phase1")
write_deck("phase2.toml", **deck, train_steps=20, data_max_length=128, checkpoint_directory="phase2")
for name in ("long", "killed"):
    write_deck(f"{name}.toml", **deck, train_steps=1000000, checkpoint_directory=name)
write_deck("limited.toml", **deck, train_steps=STEPS, checkpoint_directory="limited")
# As modules do, it reads a variable that is not set, and runs commands that fail.
pathlib.Path("no_pmix.profile").write_text('[ -n "$NOT_SET_BY_ANYONE" ]\nfalse\nMPI_TYPE=pmix_v99\n')
code, _ = run(2, "phase1.toml", "--set", "checkpoint.directory=whole")
check(code == 0, "an uninterrupted run ends well")

try:
    with Cluster(nodes=2):
        test_failures()
        test_killed()
        test_cancelled()
        test_own_limit()
        test_phases()
        test_array()
        test_scaling()
        test_ablations()
except CannotStart as reason:
    print(f"skipped: the job scripts under Slurm. {reason}")
    if not failures:
        sys.exit(77)
finish()
