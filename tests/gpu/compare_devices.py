"""Vectors of the same proteins and weights by two devices: compare_devices.py CPU.h5 GPU.h5.

Fails where a mean differs by more than 1 % of its length. A GPU's bfloat16 rounds each activation by up to 2^-9 = 0.2 %,
some tens of times on the way; the errors are independent, and a mean over a protein's residues takes most of them away.
"""

import json
import os
import sys

import h5py
import numpy

MOST = 0.01

missing = [path for path in sys.argv[1:3] if not os.path.exists(path)]
if missing:
    print(f"skipped: {missing[0]} was not written")
    sys.exit(77)
with h5py.File(sys.argv[1]) as cpu, h5py.File(sys.argv[2]) as gpu:
    want, got = cpu["mean"][()].astype(float), gpu["mean"][()].astype(float)
    with_vectors = cpu["lengths"][()] > 0
    if not numpy.array_equal(with_vectors, gpu["lengths"][()] > 0):
        sys.exit("error: the two files have vectors of different proteins")
    want, got = want[with_vectors], got[with_vectors]
    means = numpy.linalg.norm(got - want, axis=1) / numpy.linalg.norm(want, axis=1)
    rows = slice(0, min(len(cpu["residues"]), 100_000))
    want, got = cpu["residues"][rows].astype(float), gpu["residues"][rows].astype(float)
    residues = numpy.linalg.norm(got - want, axis=1) / numpy.linalg.norm(want, axis=1)
print(json.dumps({"proteins": int(with_vectors.sum()), "largest_difference_of_means": float(means.max()),
                  "median_difference_of_residues": float(numpy.median(residues)),
                  "largest_difference_of_residues": float(residues.max())}))
if not means.max() <= MOST:
    sys.exit(f"error: a mean differs by {means.max():.2e} of its length, more than {MOST}")
