"""What machine_code.py finds in listings written for it: loops, their instructions, and what breaks a bound."""

import unittest

import machine_code
from machine_code import Bounds, Kernel, blocks, count, loops, quantities


def listing(text):
    """[(address, instruction)]; a line `name:` names the address of the next, @name becomes it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    names, instructions = {}, []
    for line in lines:
        if line.endswith(":"):
            names[line[:-1]] = f"{16 * len(instructions):#x}"
        else:
            instructions.append(line)
    for name, address in names.items():
        instructions = [instruction.replace(f"to {name}", address) for instruction in instructions]
    return [(16 * i, instruction) for i, instruction in enumerate(instructions)]


# A copy and a part of products, walked over: the shape of attention's backward pass.
WALK = """
    S2R R0, SR_TID.X
    tile:
    LDGSTS.E.BYPASS.128 [R1], [R2.64]
    LDGSTS.E [R1], [R2.64]
    BRA.DIV ~URZ, to apart
    part:
    LDSM.16.M88.4 R4, [R3]
    @!PT LDS RZ, [RZ]
    HMMA.16816.F32.BF16 R8, R4, R12, R8
    IMAD.MOV.U32 R9, RZ, RZ, R8
    LOP3.LUT R3, R3, 0x10, RZ, 0x3c, !PT
    FSEL R7, R7, -INF , !P1
    @P0 BRA to part
    @!P1 BRA P2, to tile
    HMMA.16816.F32.BF16 R8, R4, R12, R8
    STG.E.128 [R2.64], R8
    EXIT
    apart:
    STL [R1], R8
    WARPSYNC.ALL
    BRA to part
    end:
    BRA to end
"""


class MachineCode(unittest.TestCase):
    def test_loops_are_nested(self):
        live, bodies = loops(listing(WALK))
        self.assertEqual([sorted(body) for body in bodies], [list(range(4, 11)), list(range(1, 12))])
        self.assertEqual(live, set(range(15)))  # lanes are not apart, nothing is behind the end

    def test_a_way_into_the_middle_makes_no_loop(self):
        add = "FADD R0, R0, R1"
        _, bodies = loops(listing(f"@P0 BRA to middle\n head:\n {add}\n middle:\n {add}\n @P1 BRA to head\n EXIT"))
        self.assertEqual(bodies, [])

    def test_the_hot_loop(self):
        counts = count(listing(WALK), straight=False)
        self.assertEqual((counts.instructions, counts.products, counts.integers, counts.local), (7, 1, 1, 0))
        self.assertEqual((counts.wide_global, counts.wide_shared), (50, 100))

    def test_outside_all_loops(self):
        counts = count(listing(WALK), straight=True)
        self.assertEqual((counts.instructions, counts.products, counts.accesses), (4, 1, 1))

    def test_blocks_of_a_multiprocessor(self):
        def number(capability, registers, static, threads, dynamic):
            bounds = Bounds("", threads, dynamic, *5 * ((0, ""),))
            return blocks(Kernel("", capability, registers, static, []), bounds)

        self.assertEqual(number("80", 255, 0, 128, 65 * 1024), 2)
        self.assertEqual(number("80", 168, 0, 128, 65 * 1024), 2)  # shared memory
        self.assertEqual(number("90", 168, 1024, 128, 65 * 1024), 3)
        self.assertEqual(number("90", 79, 1280, 512, 0), 1)  # registers
        self.assertEqual(number("90", 64, 1280, 512, 0), 2)
        self.assertEqual(number("90", 20, 0, 256, 0), 8)  # threads

    def test_a_spill_breaks_a_bound(self):
        bounds = Bounds("walk", 128, 0, (7, "time"), (1, "addresses"), (50, ""), (100, ""), (2, ""))
        kernel = Kernel("walk", "90", 128, 1024, listing(WALK.replace("FSEL R7", "LDL R7")))
        broken = [str(q) for q in quantities(kernel, bounds, count(kernel.code, False)) if q.broken()]
        self.assertEqual(broken, ["accesses to local memory: 1, at most 0: a spilled register is a load or a store "
                                  "each round"])

    def test_signed_addresses_break_a_bound(self):
        bounds = Bounds("walk", 128, 0, (7, "time"), (1, "addresses"), (50, ""), (100, ""), (2, ""))
        chain = "SHF.R.S32.HI R5, RZ, 0x1f, R0\n LEA.HI R5, R5, R0, RZ, 0x4\n FSEL R7"
        kernel = Kernel("walk", "90", 128, 1024, listing(WALK.replace("FSEL R7", chain)))
        broken = [str(q) for q in quantities(kernel, bounds, count(kernel.code, False)) if q.broken()]
        self.assertEqual(broken, ["instructions a product: 9, at most 7: time",
                                  "integer instructions a product: 3, at most 1: addresses"])

    def test_every_kernel_is_named_once(self):
        names = [bounds.kernel for bounds in machine_code.TABLE]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
