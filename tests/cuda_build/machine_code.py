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
    """Of a kernel: how it is launched, and what its hot loop may take, each with the reason. Numbers of instructions are
    upper bounds, 3 % above what was measured; percentages and blocks are lower ones."""

    kernel: str
    threads: int  # of a block
    dynamic: int  # bytes of shared memory that the launch asks for
    instructions: tuple  # a unit of work
    integers: tuple  # of these, arithmetic of whole numbers
    wide_global: tuple  # percent of the accesses to global memory with 16 bytes a lane
    wide_shared: tuple  # the same of shared memory
    blocks: tuple  # on a multiprocessor at a time
    straight: bool = False  # what counts is outside all loops
    cached: int = 0  # accesses of 16 bytes that are no unit of work: to parameters, which a cache holds


KIB = 1024
# Attention
PRODUCTS = "a scheduler starts one a cycle, an H100 multiplies for 6.5 and shall be what is waited for"
ADDRESSES = "an address in a tile is the lane's, computed without signs, and a constant"
COPIES = "cp.async brings 16 bytes a lane past the registers"
COPIES_KV = "only logsumexp and delta come by 4 bytes, one copy in nine"
OPERANDS = "one ldmatrix x4 brings the operands of two products or more"
OPERANDS_KV = "only logsumexp and delta are read by 8 bytes"
TWO_BLOCKS = "two warps a scheduler: exponentials of one beside products of the other"
ONE_BLOCK = "more than a half of an A100's shared memory: one block, of eight warps"
# Rows and elements
MEMORY = "the memory delivers an access in the time of 100 instructions of an H200's multiprocessor"
ERF = "the form of transformers' models alone: erff computes for longer than the memory delivers"
CONVERSION = "a shift or a mask for each bfloat16, and a loop's counters and addresses"
FLOATS = "addresses are computed once for four elements"
ALL_WIDE = "bfloat16 are taken by eights, float32 by fours"
ROW_NUMBERS = "all but a row's mean and rstd"
FULL = "all of a multiprocessor's 2048 threads, each with its loads under way"
NO_LIMIT = (0, "")
BF = "__nv_bfloat16"
TABLE = [
    Bounds("attention_forward_kernel<64>", 128, 48 * KIB,
           (5.32, PRODUCTS), (0.67, ADDRESSES), (100, COPIES), (100, OPERANDS), (2, TWO_BLOCKS)),
    Bounds("attention_forward_kernel<128>", 128, 64 * KIB,
           (4.84, PRODUCTS), (0.76, ADDRESSES), (100, COPIES), (100, OPERANDS), (2, TWO_BLOCKS)),
    Bounds("attention_backward_kv_kernel<64>", 128, 65 * KIB,
           (3.15, PRODUCTS), (0.29, ADDRESSES), (88, COPIES_KV), (85, OPERANDS_KV), (2, TWO_BLOCKS)),
    Bounds("attention_backward_kv_kernel<128>", 256, 129 * KIB,
           (2.85, PRODUCTS), (0.39, ADDRESSES), (88, COPIES_KV), (90, OPERANDS_KV), (1, ONE_BLOCK)),
    Bounds("attention_backward_q_kernel<64>", 128, 64 * KIB,
           (3.64, PRODUCTS), (0.4, ADDRESSES), (100, COPIES), (100, OPERANDS), (2, TWO_BLOCKS)),
    Bounds("attention_backward_q_kernel<128>", 256, 128 * KIB,
           (3.04, PRODUCTS), (0.5, ADDRESSES), (100, COPIES), (100, OPERANDS), (1, ONE_BLOCK)),
    Bounds("attention_delta_kernel<64>", 256, 0, (59, MEMORY), (32, "of each thread's two accesses, once"),
           (66, "two loads; one lane in eight stores the sum"), NO_LIMIT, (8, FULL), straight=True),
    Bounds(f"residual_layer_norm_kernel<{BF}, 8, 4, false>", 128, 0, (73.7, MEMORY), (31.5, CONVERSION),
           (75, ROW_NUMBERS), NO_LIMIT, (9, "rows of which some load while others wait for their sums"), straight=True,
           cached=16),
    Bounds(f"layer_norm_backward_kernel<{BF}, 8, false>", 512, 16 * KIB, (100, MEMORY), (22.7, CONVERSION),
           (71, ROW_NUMBERS), (50, "all but the row's sums"),
           (2, "one adds up its row while the other waits for memory"), cached=2),
    Bounds(f"gelu_backward_kernel<{BF}, 8, (protalbert::Gelu)1>", 256, 0, (51.8, MEMORY), (8.95, CONVERSION),
           (100, ALL_WIDE), NO_LIMIT, (5, "40 warps with two loads each under way")),
    Bounds(f"gelu_backward_kernel<{BF}, 8, (protalbert::Gelu)0>", 256, 0, (184, ERF), (18.9, CONVERSION),
           (100, ALL_WIDE), NO_LIMIT, (4, "32 warps with two loads each under way")),
    Bounds(f"map_kernel<{BF}, 8, GeluOf<(protalbert::Gelu)0> >", 256, 0, (217, ERF), (20, CONVERSION), (100, ALL_WIDE),
           NO_LIMIT, (5, "40 warps with a load each under way")),
    Bounds(f"column_sums_kernel<{BF}, 8>", 256, 0, (21.4, MEMORY), (11.3, CONVERSION), (100, ALL_WIDE), NO_LIMIT,
           (6, "48 warps with four loads each under way")),
    Bounds("update_moments_kernel<false>", 256, 0, (25.7, MEMORY), (2.95, FLOATS), (100, ALL_WIDE), NO_LIMIT,
           (5, "40 warps with four loads each under way")),
    Bounds("apply_kernel", 256, 0, (4.64, MEMORY), (0.86, FLOATS),
           (75, "bfloat16 copies are stored by fours, one access in four"), NO_LIMIT, (8, FULL)),
    Bounds("squares_kernel", 256, 0, (9.7, MEMORY), (0.39, FLOATS), (100, ALL_WIDE), NO_LIMIT,
           (6, "48 warps with 16 loads each under way")),
    Bounds("to_bfloat16_kernel<8>", 256, 0, (5.5, MEMORY), (2.75, FLOATS), (100, ALL_WIDE), NO_LIMIT, (8, FULL)),
    Bounds(f"extract_residues_kernel<{BF}, 8, (protalbert::OutputType)0>", 256, 0, (8.75, MEMORY), (5.15, CONVERSION),
           (100, ALL_WIDE), NO_LIMIT, (8, FULL)),
]

# Bytes of shared memory of a multiprocessor (CUDA C++ Programming Guide, technical specifications per compute capability).
SHARED_MEMORY = {"80": 164 * KIB, "90": 228 * KIB}
# Of each block, beyond what it asks for. From compute capability 9.0 on static memory, as it is told, contains it.
RESERVED_SHARED = 1 * KIB

# Opcodes with their modifiers. Moves are no arithmetic, though the multiplier does some of them.
PRODUCT = re.compile(r"HMMA\b")
INTEGER = re.compile(r"(U?(IADD3?|IMAD|ISETP|IMNMX|IABS|LEA|LOP3|SHF|PRMT|SEL|SGXT|BMSK|FLO|POPC|BREV)|VI\w+)\b(?!\.MOV)")
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
    reason: str
    most: bool = False  # the bound is an upper one
    of_compiler: bool = False  # it is asked only of the compiler that was measured

    def broken(self):
        return self.value > self.bound if self.most else self.value < self.bound

    def __str__(self):
        return f"{self.name}: {self.value:.4g}, at {'most' if self.most else 'least'} {self.bound}: {self.reason}"


def quantities(kernel, bounds, counts):
    """All that is bounded."""
    if counts.products:
        unit, units = "a product", counts.products
    else:
        unit, units = "an access", max(counts.accesses - bounds.cached, 1)
    every, integers = counts.instructions / units, counts.integers / units
    spill = "a spilled register is a load or a store each round"
    return [
        Quantity(f"instructions {unit}", every, *bounds.instructions, most=True, of_compiler=True),
        Quantity(f"integer instructions {unit}", integers, *bounds.integers, most=True, of_compiler=True),
        Quantity("accesses to local memory", counts.local, 0, spill, most=True),
        Quantity("% of accesses to global memory with 16 bytes", counts.wide_global, *bounds.wide_global),
        Quantity("% of accesses to shared memory with 16 bytes", counts.wide_shared, *bounds.wide_shared),
        Quantity("blocks a multiprocessor", blocks(kernel, bounds), *bounds.blocks),
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
    print("    hot loop  products integer  instructions a unit     local 16 bytes, %  regis-")
    print("instructions         %       %     all  integer  of      memory global shared   ters blocks  sm  kernel")
    for kernel in sorted(found, key=lambda kernel: ([*table].index(kernel.name), kernel.capability)):
        bounds = table[kernel.name]
        counts = count(kernel.code, bounds.straight)
        bounded = quantities(kernel, bounds, counts)
        every, integers, local, wide_global, wide_shared, resident = (quantity.value for quantity in bounded)
        print(f"{counts.instructions:>12} {100 * counts.products / counts.instructions:>9.1f} "
              f"{100 * counts.integers / counts.instructions:>7.1f} {every:>7.2f} {integers:>8.2f}  "
              f"{'product' if counts.products else 'access ':<7} {local:>6} {wide_global:>6.0f} {wide_shared:>6.0f} "
              f"{kernel.registers:>6} {resident:>6}  {kernel.capability}  {kernel.name}")
        failures += [f"{kernel.name} (sm_{kernel.capability}): {quantity}" for quantity in bounded
                     if quantity.broken() and (measured or not quantity.of_compiler)]
    if not measured:
        print(f"numbers of instructions are not held to their bounds: nvcc is {release}, not {MEASURED_WITH}")
    if failures:
        sys.exit("\n".join(f"failed: {failure}" for failure in failures))


if __name__ == "__main__":
    main()
