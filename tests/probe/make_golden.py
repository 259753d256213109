#!/usr/bin/env python3
"""Writes golden.h5: heads of predictions with PyTorch's losses, gradients and parameters after steps of Adam.

test_head_golden.cpp compares ours with it. Needs PyTorch and h5py (made with torch 2.15):

    python3 -m venv venv && venv/bin/pip install torch h5py
    venv/bin/python make_golden.py golden.h5

The modules are those of bio_embeddings: convolutions of width 7 over padded batches whose padding is zero before every
convolution, dense layers for proteins. PyTorch computes in double precision; its dropout takes masks made here from the
generator that kernels/backend.hpp names.
"""
import sys

import h5py
import numpy
import torch

LEARNING_RATE = 1e-3
STEPS = 4
SEED = 0x0123456789ABCDEF
CHANNELS = 32

CASES = {
    "structure": dict(features=12, window=7, dropout=0.25, kinds=dict(three_state=3, eight_state=8, disorder=2),
                      lengths=[9, 1, 23, 4]),
    "one_kind": dict(features=5, window=7, dropout=0.0, kinds=dict(three_state=3), lengths=[30]),
    "localization": dict(features=10, window=1, dropout=0.25, kinds=dict(location=10, membrane=2), lengths=[1] * 17),
}


def philox(counter, key):
    """Philox4x32-10 (Salmon et al., 2011) of one counter."""
    counter, key = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [second >> 32 ^ counter[1] ^ key[0], second & 0xFFFFFFFF,
                   first >> 32 ^ counter[3] ^ key[1], first & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def kept(rows, step, probability):
    """[T, CHANNELS] what dropout multiplies by."""
    key = (SEED & 0xFFFFFFFF, SEED >> 32)
    words = [[philox((n // 4, row & 0xFFFFFFFF, row >> 32, step), key)[n % 4] for n in range(CHANNELS)] for row in rows]
    drops = numpy.array(words) < probability * 2**32
    return torch.tensor(numpy.where(drops, 0, 1 / (1 - probability)))


class Head(torch.nn.Module):
    def __init__(self, features, window, kinds):
        super().__init__()
        layer = (lambda i, o: torch.nn.Conv1d(i, o, window, padding=window // 2)) if window > 1 else torch.nn.Linear
        self.window = window
        self.hidden = layer(features, CHANNELS)
        for name, classes in kinds.items():
            self.add_module(name, layer(CHANNELS, classes))

    def apply_layer(self, layer, x, lengths):
        """x [T, in] of packed sequences, each by itself: zeros beyond its ends."""
        if self.window == 1:
            return layer(x)
        return torch.cat([layer(part.T[None])[0].T for part in x.split(lengths)])

    def forward(self, x, lengths, kinds, factors):
        hidden = self.apply_layer(self.hidden, x, lengths)
        # The published order: ReLU, then dropout along sequences; dropout, then ReLU for proteins.
        hidden = torch.relu(hidden) * factors if self.window > 1 else torch.relu(hidden * factors)
        return [self.apply_layer(getattr(self, name), hidden, lengths) for name in kinds]


def write_case(file, name, generator, features, window, dropout, kinds, lengths):
    total = sum(lengths)
    head = Head(features, window, kinds).double()
    with torch.no_grad():
        for parameter in head.parameters():  # both sides start from the same float32 numbers
            parameter.copy_(torch.randn(parameter.shape, generator=generator).double() * 0.3)
    x = torch.randn(total, features, generator=generator).float().double()
    rows = [(5_000_000_000 + 7 * t) for t in range(total)]
    labels = []
    for classes in kinds.values():
        label = torch.randint(0, classes, (total,), generator=generator)
        label[torch.rand(total, generator=generator) < 0.2] = -100
        labels.append(label)

    group = file.create_group(name)
    group.attrs["window"], group.attrs["dropout"], group.attrs["learning_rate"] = window, dropout, LEARNING_RATE
    group.attrs["seed"] = numpy.uint64(SEED)
    group["features"] = x.numpy().astype(numpy.float32)
    group["rows"] = numpy.array(rows, dtype=numpy.int64)
    group["offsets"] = numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.int64)
    for kind, label in zip(kinds, labels):
        group[f"labels/{kind}"] = numpy.where(label < 0, -1, label).astype(numpy.int32)

    def store(where, tensors):
        for key, tensor in tensors:
            group[f"{where}/{key}"] = tensor.detach().numpy().astype(numpy.float32)

    store("parameters", head.named_parameters())
    adam = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    losses = []
    for step in range(1, STEPS + 1):
        adam.zero_grad()
        logits = head(x, lengths, kinds, kept(rows, step, dropout))
        each = [torch.nn.functional.cross_entropy(value, label) for value, label in zip(logits, labels)]
        sum(each).backward()
        losses.append([loss.item() for loss in each])
        if step == 1:
            store("gradients", ((key, parameter.grad) for key, parameter in head.named_parameters()))
            for kind, value in zip(kinds, logits):
                group[f"logits/{kind}"] = value.detach().numpy().astype(numpy.float32)
        adam.step()
        store(f"after/{step}", head.named_parameters())
    group["losses"] = numpy.array(losses)


def main():
    with h5py.File(sys.argv[1], "w", libver="v108") as file:
        for number, (name, case) in enumerate(CASES.items()):
            write_case(file, name, torch.Generator().manual_seed(20240611 + number), **case)


main()
