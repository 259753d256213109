#!/usr/bin/env python3
"""Second implementation of a training sample, in plain Python: prints the golden values of test_sample.cpp.

    python3 tests/loader/sample_reference.py
"""

MASK32 = 0xFFFFFFFF
PURPOSE_SAMPLE = 4
CLS, SEP, MASK, VOCABULARY = 2, 3, 4, 34


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK32, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK32]
        k = [(k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32]
    return c


def stream(seed, epoch, sequence):
    """The 32-bit numbers of RandomStream(seed, Purpose::sample, epoch, sequence)."""
    block = 0
    while True:
        counter = [block, sequence & MASK32, (sequence >> 32) << 16 | PURPOSE_SAMPLE, epoch]
        yield from philox(counter, [seed & MASK32, seed >> 32])
        block += 1


class Random:
    def __init__(self, seed, epoch, sequence, skip=0):
        self.numbers = stream(seed, epoch, sequence)
        for _ in range(skip):
            next(self.numbers)

    def bits64(self):
        high = next(self.numbers)
        return high << 32 | next(self.numbers)

    def uniform(self):
        return (self.bits64() >> 11) * 2.0**-53

    def below(self, bound):
        return self.bits64() * bound >> 64


def sample(objective, max_length, fraction, ngram, short, seed, epoch, sequence, residues, partner):
    random = Random(seed, epoch, sequence)
    special = 2 if objective == "none" else 3
    target = max_length - special
    if random.uniform() < short:
        target = 2 + random.below(target - 1)
    crop = min(len(residues), target)
    start = random.below(len(residues) - crop + 1)
    first, second, label = residues[start : start + crop], [], -1
    if objective != "none" and crop >= 2:
        cut = 1 + random.below(crop - 1)
        first, second = first[:cut], first[cut:]
        label = random.below(2)
        if objective == "sop" and label:
            first, second = second, first
        if objective == "nsp" and label:
            size = min(len(partner), target - cut)
            start = random.below(len(partner) - size + 1)
            second = partner[start : start + size]
    tokens = [CLS] + first + [SEP]
    places = list(range(1, 1 + len(first)))
    segments = [0] * len(tokens)
    if objective != "none":
        places += list(range(len(tokens), len(tokens) + len(second)))
        tokens += second + [SEP]
        segments += [1] * (len(second) + 1)

    random = Random(seed, epoch, sequence, skip=16)
    count = len(places)
    left = min(max(1, round(fraction * len(tokens))), count)
    starts = list(range(count))
    covered = set()
    for i in range(count):
        if left == 0:
            break
        j = i + random.below(count - i)
        starts[i], starts[j] = starts[j], starts[i]
        longest = min(ngram, count - starts[i])
        weights = [1.0 / n for n in range(1, longest + 1)]
        rest, n = random.uniform() * sum(weights), 1
        while n < longest and rest - weights[n - 1] >= 0:
            rest -= weights[n - 1]
            n += 1
        span = set(range(starts[i], starts[i] + min(n, left)))
        if not span & covered:
            covered |= span
            left -= len(span)
    for start in starts:
        if left and start not in covered:
            covered.add(start)
            left -= 1
    positions, labels = [], []
    for index in sorted(covered):
        place = places[index]
        positions.append(place)
        labels.append(tokens[place])
        chance = random.uniform()
        if chance < 0.8:
            tokens[place] = MASK
        elif chance < 0.9:
            tokens[place] = random.below(VOCABULARY)
    return tokens, segments, positions, labels, label


def main():
    protein = [13 + (7 * i + i * i // 3) % 21 for i in range(50)]
    partner = [13 + (5 * i + 2) % 21 for i in range(9)]
    cases = [("sop", 5, 0), ("sop", 5, 1), ("nsp", 2, 3), ("nsp", 6, 3), ("none", 1 << 33, 1)]
    for objective, sequence, epoch in cases:
        result = sample(objective, 24, 0.3, 3, 0.1, 12345 + (6 << 32), epoch, sequence, protein, partner)
        fields = ", ".join("{" + ", ".join(map(str, part)) + "}" for part in result[:4])
        print(f"{{Objective::{objective}, {sequence}u, {epoch}, {fields}, {result[4]}}},")


if __name__ == "__main__":
    main()
