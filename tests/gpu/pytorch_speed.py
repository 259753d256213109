"""PyTorch's matrix products and fused attention on this GPU at ProtAlbert's sizes, in bfloat16: what ours is compared with.

Prints one JSON line a measurement: the median time of an operation by CUDA events, and the FLOPs that a model counts (a
backward pass of attention counts twice its forward pass).
"""

import json
import statistics
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

if not torch.cuda.is_available():
    print("skipped: no usable GPU for PyTorch")
    sys.exit(77)

TOKENS, HIDDEN, INNER, HEADS = 8192, 4096, 16384, 64
SECONDS = 0.2


def seconds(run):
    """Median of as many runs as fit SECONDS, at least five, after two that choose algorithms."""
    run()
    run()
    times, total = [], 0
    while len(times) < 5 or total < SECONDS:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3)
        total += times[-1]
    return statistics.median(times)


def report(name, time, flops=0, moved=0):
    line = {"operation": name, "milliseconds": 1e3 * time}
    if flops:
        line["tflops_per_second"] = 1e-12 * flops / time
    if moved:
        line["gigabytes_per_second"] = 1e-9 * moved / time
    print(json.dumps(line), flush=True)


def numbers(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def products():
    shapes = {"product 8192 x 8192 x 8192": (8192, 8192, 8192), "QKV": (TOKENS, 3 * HIDDEN, HIDDEN),
              "attention output": (TOKENS, HIDDEN, HIDDEN), "feed-forward input": (TOKENS, INNER, HIDDEN),
              "feed-forward output": (TOKENS, HIDDEN, INNER)}
    for name, (rows, columns, depth) in shapes.items():
        x, weight, out = numbers(rows, depth), numbers(columns, depth), numbers(rows, columns)
        report(f"pytorch {name}", seconds(lambda: torch.matmul(x, weight.T, out=out)), 2.0 * rows * columns * depth)
    # A training step's depth: twelve iterations of 8,192 tokens.
    dy, x = numbers(12 * TOKENS, INNER), numbers(12 * TOKENS, HIDDEN)
    report("pytorch weight gradient, feed-forward, depth 98304", seconds(lambda: dy.T @ x), 2.0 * 12 * TOKENS * INNER * HIDDEN)


def attention(length):
    shape = (TOKENS // length, HEADS, length, HIDDEN // HEADS)
    flops = 4.0 * TOKENS * length * HIDDEN
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        name = f"pytorch attention {length}, {backend.name.lower().split('_')[0]}"
        try:
            with sdpa_kernel(backend):
                q, k, v = (numbers(*shape).requires_grad_() for _ in range(3))
                with torch.no_grad():
                    report(f"{name}, forward",
                           seconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v)), flops)
                out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
                gradient = torch.randn_like(out)
                report(f"{name}, backward",
                       seconds(lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)), 2 * flops)
        except RuntimeError as problem:
            print(json.dumps({"operation": name, "error": str(problem).splitlines()[0]}), flush=True)


def rows():
    x, gamma = numbers(TOKENS, HIDDEN), numbers(HIDDEN)
    report("pytorch layer norm", seconds(lambda: torch.nn.functional.layer_norm(x, (HIDDEN,), gamma, gamma)),
           moved=2 * 2.0 * TOKENS * HIDDEN)
    copied = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    source = torch.ones_like(copied)
    report("pytorch copy of 256 MiB", seconds(lambda: copied.copy_(source)), moved=2.0 * (1 << 28))


def main():
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}")
    with torch.device("cuda"):
        products()
        attention(512)
        attention(2048)
        rows()


if __name__ == "__main__":
    main()
