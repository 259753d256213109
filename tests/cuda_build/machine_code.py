"""The machine code of the kernels' hot loops, held to bounds: machine_code.py BUILD_FOLDER.

Disassembles what ptxas made of kernels/cuda for each compute capability, finds the loop in which a kernel spends its
time, and fails where that leaves the bounds of the table below. Nothing runs, no GPU is needed. Exits with 77 where
CUDA's disassembler is neither installed nor fetched (jobscripts/setup.sh --tests does that).

Instructions are counted for a unit of work, so that it does not matter how often the compiler unrolls a loop:
- product: one m16n8k16 of a warp on the tensor cores. A scheduler starts one instruction a cycle, and a product takes
  its tensor core 8 cycles on an A100, by mma.sync about 6.5 on an H100: with more instructions than that a product the
  tensor cores wait, and with nearly as many they wait for whatever overlaps badly.
- access: one of a warp to global memory, 16 bytes a lane. A multiprocessor's share of the memory's bandwidth is one in
  25 cycles on an H200, in 35 to 38 on an H100 or A100, while its four schedulers start 100 or 140 instructions: with
  more the memory waits.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

from resources import readable

SKIPPED = 77

# Another compiler counts other instructions: those are held to bounds only with this release of nvcc.
MEASURED_WITH = "13.0"


class Bounds(NamedTuple):
    """Of a kernel: how it is launched, and what its hot loop may take. Instructions are upper bounds, 3 % above what
    was measured; percentages and blocks are lower ones."""

    kernel: str
    threads: int  # of a block
    dynamic: int  # bytes of shared memory that the launch asks for
    instructions: float  # a unit of work
    integers: float  # of these, arithmetic of whole numbers
    wide_global: int  # percent of the accesses to global memory with 16 bytes a lane
    wide_shared: int  # the same of shared memory
    blocks: int  # on a multiprocessor at a time
    reason: str
    straight: bool = False  # what counts is outside all loops


KIB = 1024
BFLOAT16 = "__nv_bfloat16"
TABLE = [
    Bounds("attention_forward_kernel<64>", 128, 48 * KIB, 6.8, 2.2, 100, 100, 2,
           "two warps a scheduler: one computes exponentials while the other multiplies"),
    Bounds("attention_forward_kernel<128>", 128, 64 * KIB, 6.3, 2.25, 100, 100, 2,
           "as for 64, with tiles of 32 keys: half the exponentials a product"),
    Bounds("attention_backward_kv_kernel<64>", 128, 65 * KIB, 3.95, 1.1, 88, 85, 2,
           "narrow are logsumexp and delta alone, one access to global memory in nine and one to shared memory in seven"),
    Bounds("attention_backward_kv_kernel<128>", 256, 129 * KIB, 3.95, 1.5, 88, 90, 1,
           "129 KiB of tiles: one block, whose eight warps do as two blocks of four; narrow as for 64"),
    Bounds("attention_backward_q_kernel<64>", 128, 64 * KIB, 4.45, 1.18, 100, 100, 2,
           "two warps a scheduler, as in the forward pass"),
    Bounds("attention_backward_q_kernel<128>", 256, 128 * KIB, 4.6, 2.03, 100, 100, 1,
           "128 KiB of tiles: one block, whose eight warps do as two blocks of four"),
    Bounds("attention_delta_kernel<64>", 256, 0, 60, 32, 66, 0, 8,
           "two loads and one narrow store; all threads that a multiprocessor holds have theirs under way", straight=True),
    Bounds(f"residual_layer_norm_kernel<{BFLOAT16}, 8, 1, false>", 512, 0, 50.3, 13.5, 80, 0, 2,
           "mean and rstd are narrow; one block adds up its row while the other loads", straight=True),
    Bounds(f"layer_norm_backward_kernel<{BFLOAT16}, 8, 1, false>", 512, 0, 43.7, 10.3, 77, 0, 1,
           "mean and rstd are narrow; rather one block than spilled sums"),
    Bounds(f"map_two_kernel<{BFLOAT16}, 8, TimesGeluDerivative>", 256, 0, 293, 29.5, 100, 0, 5,
           "both forms of GELU are in the loop, of which one is taken"),
    Bounds(f"map_kernel<{BFLOAT16}, 8, GeluOf>", 256, 0, 338, 22.2, 100, 0, 8,
           "both forms of GELU are in the loop, of which one is taken"),
    Bounds(f"column_sums_kernel<{BFLOAT16}, 8>", 256, 0, 21.4, 11.3, 100, 0, 5,
           "an addition an element and its conversion; 40 warps with four loads each under way"),
    Bounds("update_moments_kernel<false>", 256, 0, 25.8, 2.95, 100, 0, 5,
           "a square root and a division an element, of LAMB; four loads and three stores of four elements"),
    Bounds("apply_kernel", 256, 0, 4.65, 0.86, 75, 0, 8,
           "narrow are the bfloat16 copies, 8 bytes for four elements"),
    Bounds("squares_kernel", 256, 0, 9.75, 0.4, 100, 0, 6,
           "a conversion to double precision and a multiplication an element"),
    Bounds("to_bfloat16_kernel<8>", 256, 0, 5.5, 2.75, 100, 0, 8,
           "two loads, four conversions and a store; the rest is the loop's"),
    Bounds(f"extract_residues_kernel<{BFLOAT16}, 8, (protalbert::OutputType)0>", 256, 0, 8.75, 5.15, 100, 0, 8,
           "eight conversions between a load and a store of the embeddings that leave the device"),
]

# Bytes of shared memory of a multiprocessor (CUDA C++ Programming Guide, technical specifications per compute capability).
SHARED_MEMORY = {"80": 164 * KIB, "90": 228 * KIB}
# Of each block, beyond what it asks for. From compute capability 9.0 on static memory, as it is told, contains it.
RESERVED_SHARED = 1 * KIB

# Opcodes with their modifiers. Moves are no arithmetic, though the multiplier does some of them.
PRODUCT = re.compile(r"HMMA\b")
INTEGER = re.compile(r"(U?(IADD3?|IMAD|IMUL|ISETP|IMNMX|IABS|LEA|LOP3|SHF|PRMT|SEL|SGXT|BMSK|FLO|POPC|BREV)|VI\w+)\b(?!\.MOV)")
GLOBAL = re.compile(r"(LDG|STG|LDGSTS|LD|ST)\b")
SHARED = re.compile(r"(LDS|STS|LDSM)\b")
LOCAL = re.compile(r"(LDL|STL)\b")
WIDE = re.compile(r".*\.(128|MT?88\.4)\b")


def disassembler(nvcc):
    """The folder of cuobjdump and of nvdisasm, which it calls: nvcc's, one of PATH, or where setup.sh fetches them to."""
    cache = pathlib.Path(os.environ.get("PROTALBERT_CACHE") or pathlib.Path.home() / ".cache/protalbert")
    fetched = sorted(cache.glob("cuda-disassembler-*/nvidia/*/bin"))
    for folder in [nvcc.resolve().parent, *map(pathlib.Path, os.get_exec_path()), *fetched]:
        if all(shutil.which(tool, path=folder) for tool in ("cuobjdump", "nvdisasm")):
            return folder
    return None


class Kernel(NamedTuple):
    name: str
    capability: str
    registers: int
    static: int  # bytes of shared memory
    code: list  # (address, instruction)


def kernels(folder, file, wanted):
    """The kernels of an object file whose names are among the wanted ones, for each compute capability."""

    def cuobjdump(*options):
        environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        run = subprocess.run([folder / "cuobjdump", *options, file], capture_output=True, text=True, env=environment)
        if run.returncode != 0:
            sys.exit(f"failed: the cuobjdump of {folder} cannot read {file.name}: {run.stderr.strip()}")
        return run.stdout

    resources = {}
    for line in cuobjdump("-res-usage").splitlines():
        if match := re.match(r"arch = sm_(\d+)", line):
            capability = match[1]
        elif match := re.match(r" Function (\S+):$", line):
            mangled = match[1]
        elif match := re.match(r"  REG:(\d+) STACK:\d+ SHARED:(\d+)", line):
            resources[mangled, capability] = int(match[1]), int(match[2])
    all_names = sorted({mangled for mangled, _ in resources})
    names = {mangled: name for mangled, name in zip(all_names, readable(all_names)) if name in wanted}
    found = []
    if not names:
        return found
    for line in cuobjdump("-sass", "-fun", ",".join(names)).splitlines():
        if match := re.match(r"arch = sm_(\d+)", line):
            capability = match[1]
        elif match := re.match(r"\s+Function : (\S+)", line):
            found.append(Kernel(names[match[1]], capability, *resources[match[1], capability], []))
        elif match := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", line):
            found[-1].code.append((int(match[1], 16), match[2]))
    return found


def opcode(instruction):
    """With its modifiers, without the predicate in front."""
    return re.sub(r"^@\S+\s+", "", instruction).split()[0]


def successors(code):
    """The instructions that may follow each. The lanes of a warp are taken to be together, as they are in these
    kernels: BRA.DIV never leaves for the code that gathers them, BRA.CONV always passes it by. Calls return."""
    at = {address: i for i, (address, _) in enumerate(code)}
    follow = []
    for i, (_, instruction) in enumerate(code):
        name = opcode(instruction)
        after = [i + 1] if i + 1 < len(code) else []
        if name.startswith("BRA") and not name.startswith("BRA.DIV"):
            target = at[int(re.search(r"0x([0-9a-f]+)\)?$", instruction)[1], 16)]
            certain = re.fullmatch(r"BRA(\.U)? \S+", instruction) or name.startswith("BRA.CONV")
            after = [target] if certain else [*after, target]
        elif name.startswith(("EXIT", "RET")) and not instruction.startswith("@"):
            after = []
        follow.append(after)
    return follow


def reached(follow, without=None):
    """What can follow the first instruction, on ways that avoid another."""
    seen = {0} - {without}
    ends = list(seen)
    while ends:
        new = {j for j in follow[ends.pop()] if j != without} - seen
        seen |= new
        ends += new
    return seen


def loops(code):
    """All instructions that can run, and the sets of them that are loops: what comes back to a header which is the only
    way in."""
    follow = successors(code)
    live = reached(follow)
    before = {i: [] for i in live}
    for i in live:
        for j in follow[i]:
            before[j].append(i)
    bodies = {}
    for end in sorted(live):
        for header in follow[end]:
            if header > end or (header != end and end in reached(follow, without=header)):
                continue
            body = bodies.setdefault(header, {header})
            ends = [end]
            while ends:
                if (i := ends.pop()) not in body:
                    body.add(i)
                    ends += before[i]
    return live, list(bodies.values())


class Counts(NamedTuple):
    instructions: int
    products: int
    accesses: int  # to global memory, of 16 bytes a lane
    integers: int
    local: int
    wide_global: float  # percent
    wide_shared: float


def count(code, straight):
    """Of the hot loop without loops inside it: the one with the most products, else the most wide accesses to global
    memory, else the most instructions. `straight`: of what is in no loop. Of local memory, all accesses."""
    live, bodies = loops(code)
    # Some instructions that nothing makes run (@!PT) only fill time between others.
    names = ["NOP" if instruction.startswith("@!PT") else opcode(instruction) for _, instruction in code]

    def number(body, *patterns):
        return sum(all(pattern.match(names[i]) for pattern in patterns) for i in body)

    def wide(body, memory):
        every = number(body, memory)
        return 100 * number(body, memory, WIDE) / every if every else 100

    if straight or not bodies:
        hot = live.difference(*bodies)
    else:
        own = [body.difference(*(other for other in bodies if other < body)) for body in bodies]
        hot = max(own, key=lambda body: (number(body, PRODUCT), number(body, GLOBAL, WIDE), len(body)))
    # In attention's backward pass tiles are copied by the loop around the one that works on parts of them.
    around = max((body for body in bodies if hot < body), key=len, default=hot) if number(hot, PRODUCT) else hot
    return Counts(len(hot), number(hot, PRODUCT), number(hot, GLOBAL, WIDE), number(hot, INTEGER),
                  number(live, LOCAL), wide(around, GLOBAL), wide(hot, SHARED))


def blocks(kernel, bounds):
    """That a multiprocessor holds at a time."""
    warps = bounds.threads // 32
    registers_of_warp = -(-kernel.registers // 8) * 8 * 32
    by_registers = 16384 // registers_of_warp * 4 // warps  # four schedulers with 16384 registers each
    shared = kernel.static + bounds.dynamic
    if int(kernel.capability) < 90 or kernel.static == 0:
        shared += RESERVED_SHARED
    return min(by_registers, SHARED_MEMORY[kernel.capability] // shared, 2048 // bounds.threads)


class Quantity(NamedTuple):
    name: str
    value: float
    bound: float
    most: bool  # whether the bound is an upper one
    of_compiler: bool  # whether it is asked only of the compiler that the bound was measured with
    why: str

    def broken(self):
        return self.value > self.bound if self.most else self.value < self.bound


def quantities(kernel, bounds, counts):
    """Everything that is bounded, and why."""
    if counts.products:
        unit, units, waiting = "a product", counts.products, "tensor cores"
    else:
        unit, units, waiting = "an access", max(counts.accesses, 1), "memory"
    return [
        Quantity(f"instructions {unit}", counts.instructions / units, bounds.instructions, True, True,
                 f"the {waiting} must not wait for the schedulers"),
        Quantity(f"integer instructions {unit}", counts.integers / units, bounds.integers, True, True,
                 "addresses should be a base and constants, of numbers that the compiler knows are not negative"),
        Quantity("accesses to local memory", counts.local, 0, True, False,
                 "what does not fit the registers comes and goes by memory in each round"),
        Quantity("% of accesses to global memory with 16 bytes", counts.wide_global, bounds.wide_global, False, False,
                 "narrower ones take more instructions for as many bytes"),
        Quantity("% of accesses to shared memory with 16 bytes", counts.wide_shared, bounds.wide_shared, False, False,
                 "an ldmatrix x4 feeds two products; narrower ones take the time of the products"),
        Quantity("blocks a multiprocessor", blocks(kernel, bounds), bounds.blocks, False, False,
                 "while one waits for its barrier or for memory another must have work"),
    ]


def main():
    build = pathlib.Path(sys.argv[1])
    cached = (build / "CMakeCache.txt").read_text(encoding="utf-8")
    nvcc = re.search(r"^CUDAToolkit_NVCC_EXECUTABLE:\w+=(.+)$", cached, re.MULTILINE)[1]
    folder = disassembler(pathlib.Path(nvcc))
    if folder is None:
        print("skipped: machine code is not checked, for want of cuobjdump and nvdisasm (jobscripts/setup.sh --tests)")
        sys.exit(SKIPPED)
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release ([\d.]+)", version)[1]
    measured = release == MEASURED_WITH

    table = {bounds.kernel: bounds for bounds in TABLE}
    objects = sorted((build / "tests/cuda_build").rglob("*.cu.o"))
    found = [kernel for file in objects for kernel in kernels(folder, file, table)]
    failures = [f"{name}: there is no such kernel" for name in table.keys() - {kernel.name for kernel in found}]
    print("      hot loop   product  integer   a unit: of these          local  16 bytes, %  registers  blocks")
    print("  instructions         %        %      all   integer  unit   memory  global shared                   sm  kernel")
    for kernel in sorted(found, key=lambda kernel: ([*table].index(kernel.name), kernel.capability)):
        bounds = table[kernel.name]
        counts = count(kernel.code, bounds.straight)
        all_, integers, local, wide_global, wide_shared, resident = quantities(kernel, bounds, counts)
        print(f"{counts.instructions:>14} {100 * counts.products / counts.instructions:>9.1f} "
              f"{100 * counts.integers / counts.instructions:>8.1f} {all_.value:>8.2f} {integers.value:>9.2f}  "
              f"{'product' if counts.products else 'access ':<8}{local.value:>4} {wide_global.value:>7.0f} "
              f"{wide_shared.value:>6.0f} {kernel.registers:>10} {resident.value:>7}  {kernel.capability}  {kernel.name}")
        for quantity in (all_, integers, local, wide_global, wide_shared, resident):
            if quantity.broken() and (measured or not quantity.of_compiler):
                failures.append(f"{kernel.name} (sm_{kernel.capability}): {quantity.name}: {quantity.value:.4g}, "
                                f"{'at most' if quantity.most else 'at least'} {quantity.bound}: {quantity.why} "
                                f"({bounds.reason})")
    if not measured:
        print(f"numbers of instructions are not held to their bounds: nvcc is {release}, not {MEASURED_WITH}")
    if failures:
        sys.exit("failed: " + "\nfailed: ".join(failures))


if __name__ == "__main__":
    main()
