"""What programs find around them: places that cannot be written, users without a home, wishes for threads, and file
names that are no UTF-8. surroundings.py BUILD_FOLDER, in a folder of its own."""

import concurrent.futures
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys

import h5py

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from own_folder import empty_own_folder

BUILD = pathlib.Path(sys.argv[1])
MPIRUN = shlex.split(os.environ.get("MPIRUN", "mpirun -n"))
PROGRAMS = ["prepare", "pretrain", "embed", "convert", "probe", "bench"]
NOBODY = 54321  # a number that no user has
failures = []


def check(condition, message, output=""):
    print(("passed: " if condition else "FAILED: ") + message, flush=True)
    if not condition:
        failures.append(message)
        print("    " + output.replace("\n", "\n    "))


def run(program, *arguments, ranks=1, before=(), **environment):
    """Exit code and output, standard error included."""
    call = [*before, *([*MPIRUN, str(ranks)] if ranks > 1 else []), BUILD / f"protalbert_{program}", *arguments]
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    done = subprocess.run(call, capture_output=True, timeout=120, env=variables, errors="backslashreplace", text=True)
    return done.returncode, done.stdout + done.stderr


def is_refused(result, *words):
    code, output = result
    errors = [line for line in output.splitlines() if "error:" in line]
    return code == 2 and len(errors) == 1 and all(word in errors[0] for word in words)


def at_once(calls):
    """The results of functions, in their order: programs mostly wait while they start."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda call: call(), calls))


def listing():
    """Names and times of all files, but for what Open MPI keeps."""
    return {str(path): path.lstat().st_mtime_ns for path in pathlib.Path(".").rglob("*")
            if not path.is_dir() or path.is_symlink()}


empty_own_folder()
random.seed(3)
sequences = ["".join(random.choices("ACDEFGHIKLMNPQRSTVWY", k=random.randint(20, 60))) for _ in range(40)]
pathlib.Path("proteins.fasta").write_text("".join(f">p{i}\n{s}\n" for i, s in enumerate(sequences)))
pathlib.Path("labels.fasta").write_text("".join(
    f">p{i} SET={'test' if i % 3 == 0 else 'train'} VALIDATION={i % 5 == 1 and i % 3 != 0}\n{('HEC' * 20)[:len(s)]}\n"
    for i, s in enumerate(sequences)))
subprocess.run([BUILD / "tests/embed_reference", "make", "small.h5", "1"], check=True, stdout=subprocess.DEVNULL)
for program, *arguments in (["prepare", "proteins.fasta", "--output", "corpus.h5"], ["convert", "small.h5", "folder"],
                            ["embed", "--checkpoint", "small.h5", "proteins.fasta", "--output", "vectors.h5"]):
    code, output = run(program, *arguments)
    assert code == 0, output
pathlib.Path("deck.toml").write_text("""
model = {layers = 1, hidden = 16, intermediate = 32, heads = 2, embedding = 8, positions = 128}
data = {corpus = "corpus.h5", max_length = 64}
train = {global_batch = 4, steps = 1, warmup = 0}
checkpoint = {directory = "run"}
""")
train = ["probe", "train", "--task", "secondary_structure", "--three-state", "labels.fasta", "--checkpoint", "small.h5",
         "--proteins", "proteins.fasta", "--epochs", "1", "--no-baselines"]
code, output = run(*train, "--output", "head.h5")
assert code == 0, output
task = ["--task", "secondary_structure", "--head", "head.h5", "--checkpoint", "small.h5"]

# Places that cannot be written, for each kind of output: exit code 2 before any work, and nothing is touched.
OUTPUTS = {
    "a corpus": ["prepare", "proteins.fasta", "--output", "PLACE"],
    "a run's folder": ["pretrain", "deck.toml", "--set", "checkpoint.directory=PLACE"],
    "metrics": ["pretrain", "deck.toml", "--set", "run.metrics=PLACE", "--set", "checkpoint.directory=metrics_run"],
    "a timeline": ["pretrain", "deck.toml", "--timeline", "PLACE", "--set", "checkpoint.directory=timeline_run"],
    "a dump": ["pretrain", "deck.toml", "--dump-step", "0", "--dump-file", "PLACE", "--set",
               "checkpoint.directory=dump_run"],
    "embeddings": ["embed", "--checkpoint", "small.h5", "proteins.fasta", "--output", "PLACE"],
    "a head": [*train, "--output", "PLACE"],
    "a report": [*train, "--output", "open/other_head.h5", "--report", "PLACE"],
    "a report of evaluate": ["probe", "evaluate", *task, "--three-state", "labels.fasta", "--proteins", "proteins.fasta",
                             "--report", "PLACE"],
    "predictions": ["probe", "predict", *task, "proteins.fasta", "--output", "PLACE"],
    "a folder of weights": ["convert", "small.h5", "PLACE"],
    "a checkpoint of a folder": ["convert", "folder", "PLACE"],
    "figures": ["bench", "parameters", "--json", "PLACE"],
}
os.symlink("loop", "loop")
pathlib.Path("open").mkdir()
pathlib.Path("open").chmod(0o777)  # a place for another user
pathlib.Path("closed").mkdir(mode=0o555)
PLACES = {  # and who finds it so
    "/proc": ("/proc/x", []),
    "/sys": ("/sys/x", []),
    "a folder that is missing": ("missing/x", []),
    "a file for a folder": ("proteins.fasta/x", []),
    "a loop of links": ("loop/x", []),
    "a name that is too long": ("n" * 300, []),
    "a closed folder": ("closed/x", []),
    "a read-only file system": ("read_only/x", []),
}
pathlib.Path("read_only").mkdir()
mount = ["unshare", "-m", "bash", "-c", 'mount --bind read_only read_only && mount -o remount,ro,bind read_only && exec "$@"',
         "bash"]
if subprocess.run([*mount, "true"], capture_output=True).returncode == 0:
    PLACES["a read-only file system"] = ("read_only/x", mount)
else:
    print("skipped: a read-only file system (no name spaces here)")
    del PLACES["a read-only file system"]
nobody = []
if os.getuid() == 0:
    nobody = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    pathlib.Path(".").chmod(0o755)
    reaches = subprocess.run([*nobody, "test", "-x", BUILD / "protalbert_prepare", "-a", "-r", "small.h5"]).returncode == 0
    if reaches:
        PLACES["a closed folder"] = ("closed/x", nobody)
    else:
        print("skipped: a closed folder and users without a home (another user cannot reach the programs)")
        nobody = []
        del PLACES["a closed folder"]
cases = []
for place, (path, before) in PLACES.items():
    for output, arguments in OUTPUTS.items():
        if place == "a folder that is missing" and output in ("a run's folder", "metrics"):
            continue  # these make their folders
        if place == "a closed folder" and before and "_run" in " ".join(arguments):
            continue  # the run's folder itself cannot be made
        cases.append((f"{output} in {place}", [a.replace("PLACE", path) for a in arguments], before, 1))
cases.append(("embeddings in /proc, two ranks", [a.replace("PLACE", "/proc/x") for a in OUTPUTS["embeddings"]], [], 2))
cases.append(("metrics in /proc, two ranks", [a.replace("PLACE", "/proc/x") for a in OUTPUTS["metrics"]], [], 2))
before_all = listing()
home = {"HOME": "/"}
results = at_once([lambda case=case: run(*case[1], ranks=case[3], before=case[2], **home) for case in cases])
for (what, _, _, _), (code, output) in zip(cases, results):
    check(is_refused((code, output)) and re.search(r"error: .*(/x|nnnn|proteins\.fasta|loop)", output),
          f"{what}: exit code {code}: {[line for line in output.splitlines() if 'error:' in line]}", output)
after = {name: time for name, time in listing().items() if not name.endswith("/.lock")}
check(after == before_all, f"nothing was made or changed: {sorted(set(after.items()) ^ set(before_all.items()))}")
for name in "null", "out.fifo":
    path = "/dev/null" if name == "null" else name
    if name == "out.fifo":
        os.mkfifo(name)
    replaced = [(what, arguments) for what, arguments in OUTPUTS.items() if what in ("a report", "embeddings", "a corpus")]
    for what, arguments in replaced:
        result = run(*[a.replace("PLACE", path) for a in arguments])
        check(is_refused(result, path, "device or pipe") and not pathlib.Path(path).is_file(),
              f"{what} does not replace {path}", result[1])
code, output = run("bench", "parameters", "--json", "/dev/null")
check(code == 0, "what is written in place may be a device", output)

# A user without a home.
for program in PROGRAMS if nobody else []:
    code, output = run(program, "--version", before=nobody, HOME=None, USER=None, LOGNAME=None)
    check(code == 0 and output.startswith("protalbert "), f"protalbert_{program} starts without HOME", output)
if nobody:
    code, output = run("prepare", "proteins.fasta", "--output", "open/c.h5", before=nobody, HOME=None)
    check(code == 0 and pathlib.Path("open/c.h5").exists(), "and works", output)
    code, output = run("prepare", "proteins.fasta", "--output", "open/d.h5", before=nobody, ranks=2, HOME="/")
    check(code == 0, "so do two ranks, when mpirun has a HOME", output)
    result = run("pretrain", "deck.toml", "--set", "data.corpus=~/c.h5", before=nobody, HOME=None)
    check(is_refused(result, "~/c.h5", "HOME is"), "but it has no ~", result[1])

# Wishes for threads.
COMPUTE = {
    "pretrain": ["deck.toml", "--resume", "never"],
    "embed": ["--checkpoint", "small.h5", "proteins.fasta", "--output", "threads.h5", "--overwrite"],
    "probe": [*train[1:], "--output", "threads_head.h5"],
    "bench": ["train", "--hidden", "16", "--layers", "1", "--positions", "64", "--length", "32", "--steps", "1"],
}
for program, arguments in COMPUTE.items():
    for wish in "5000", "2147483648", "99999999999999":
        code, output = run(program, *arguments, OMP_NUM_THREADS=wish)
        warnings = re.findall(rf"^warning: OMP_NUM_THREADS is {wish}; .*$", output, re.M)
        check(code == 0 and len(warnings) == 1, f"protalbert_{program}, OMP_NUM_THREADS={wish}: {warnings}", output)
    for wish in "0", "-3", "abc", "1e3":
        result = run(program, *arguments, OMP_NUM_THREADS=wish)
        check(is_refused(result, f'OMP_NUM_THREADS is "{wish}"'), f"protalbert_{program}, OMP_NUM_THREADS={wish}", result[1])
    for wish in "2,4", " 2", "":
        code, output = run(program, *arguments, OMP_NUM_THREADS=wish)
        check(code == 0 and not re.search("^(warning|error): OMP", output, re.M),
              f"protalbert_{program}, OMP_NUM_THREADS='{wish}'", output)
for name, value in ("KOKKOS_NUM_THREADS", "many"), ("KOKKOS_NUM_THREADS", "0"), ("KOKKOS_DISABLE_WARNINGS", "perhaps"):
    code, output = run("embed", *COMPUTE["embed"], **{name: value})
    check(code == 0, f"{name}={value} is of no matter", output)
code, output = run("embed", *COMPUTE["embed"], ranks=2, OMP_NUM_THREADS="5000")
check(code == 0 and output.count("OMP_NUM_THREADS is 5000") == 1, "two ranks warn once", output)

# What a shell opens for one process does not reach those of mpirun.
for program, arguments in {"prepare": ["/dev/fd/63", "--output", "fd.h5"],
                           "embed": ["--checkpoint", "small.h5", "/dev/fd/63", "--output", "fd.h5"],
                           "convert": ["/dev/fd/63", "fd"], "pretrain": ["/dev/fd/63"],
                           "probe": [*train[1:], "--mask", "/proc/self/fd/63", "--output", "fd.h5"]}.items():
    result = run(program, *arguments, ranks=2)
    check(is_refused(result, "/fd/63", "<(...)", "write a file"), f"<(...) for protalbert_{program}", result[1])
done = subprocess.run(f"{shlex.join(MPIRUN)} 2 {BUILD}/protalbert_prepare - --output fd.h5 < <(cat proteins.fasta)",
                      shell=True, executable="/bin/bash", capture_output=True, text=True)
check(done.returncode == 0 and pathlib.Path("fd.h5").exists(), "standard input reaches them, as the message says",
      done.stdout + done.stderr)

# Names of files that are Latin-1, in everything that is written for others.
latin = os.fsencode("caf") + b"\xe9"
for file in "proteins.fasta", "labels.fasta", "small.h5":
    shutil.copy(file, os.fsdecode(latin + b"." + file.encode()))
named = os.fsdecode(latin)


def texts(path):
    """All text attributes of an HDF5 file, as bytes."""
    found = []

    def visit(_, node):
        for name in node.attrs:
            kind = h5py.h5a.open(node.id, name.encode()).get_type()
            if kind.get_class() == h5py.h5t.STRING:
                found.append(node.attrs[name])
    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return [text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text) for text in found]


arguments = [*train]
arguments[arguments.index("labels.fasta")] = named + ".labels.fasta"
arguments[arguments.index("small.h5")] = named + ".small.h5"
code, output = run(*arguments, "--output", "latin_head.h5", "--report", "latin.json")
check(code == 0, "a head from files with such names", output)
settings = json.loads(pathlib.Path("latin.json").read_bytes().decode("utf-8"))["details"]
check(settings["labels"] == "caf\\xe9.labels.fasta" and settings["vectors"] == "caf\\xe9.small.h5",
      f"its report is UTF-8, and says {settings['labels']}")
for program, *arguments in (["prepare", named + ".proteins.fasta", "--output", "latin_corpus.h5"],
                            ["embed", "--checkpoint", named + ".small.h5", "proteins.fasta", "--output", "latin.h5"]):
    code, output = run(program, *arguments)
    check(code == 0, f"protalbert_{program} with such names", output)
for file in "latin_head.h5", "latin_corpus.h5", "latin.h5":
    valid = True
    for text in texts(file):
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            valid = False
    check(valid and any(b"caf\\xe9" in text.replace(b"\\\\", b"\\") for text in texts(file)), f"attributes of {file} are UTF-8")
shutil.copy("corpus.h5", named + ".h5")
result = run("pretrain", "deck.toml", "--set", f"data.corpus={named}.h5")
check(is_refused(result, "not UTF-8", "$NAME"), "--set takes no such name", result[1])
code, output = run("pretrain", "deck.toml", "--set", "data.corpus=$NAME", "--set", "checkpoint.directory=latin_run",
                   NAME=f"{named}.h5")
check(code == 0, "but a variable that has it, as the message says", output)

print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
