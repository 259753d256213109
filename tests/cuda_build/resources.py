"""Registers and spills of every kernel, from what ptxas says with -v: resources.py BUILD_LOG.

Fails when a kernel of attention spills: its tiles live in registers, and memory would undo them.
"""

import re
import subprocess
import sys


def readable(names):
    """C++ names without parameters and namespaces."""
    text = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return [re.sub(r"protalbert::cuda::|\(anonymous namespace\)::|^void ", "", line) for line in text.splitlines()]


def kernels(log):
    """(mangled name, compute capability, registers, spilled bytes, stack bytes) of each kernel."""
    found = []
    entry = None
    for line in log:
        if match := re.search(r"Compiling entry function '(\S+)' for 'sm_(\d+)", line):
            entry = [match[1], match[2], 0, 0, 0]
        elif entry and (match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            entry[4] = int(match[1])
            entry[3] = int(match[2]) + int(match[3])
        elif entry and (match := re.search(r"Used (\d+) registers", line)):
            entry[2] = int(match[1])
            found.append(tuple(entry))
            entry = None
    return found


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        rows = kernels(log)
    if not rows:
        sys.exit("failed: the log holds no figures of ptxas")
    names = readable([row[0] for row in rows])
    print(f"{'registers':>9} {'spills':>7} {'stack':>6}  sm  kernel")
    spilling = []
    for name, (_, capability, registers, spills, stack) in sorted(zip(names, rows)):
        print(f"{registers:>9} {spills:>7} {stack:>6}  {capability}  {name}")
        if spills and "attention" in name:
            spilling.append(f"{name} (sm_{capability})")
    if spilling:
        sys.exit("failed: attention spills registers: " + ", ".join(spilling))


if __name__ == "__main__":
    main()
