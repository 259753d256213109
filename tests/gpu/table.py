"""The results of gpu_device.sh as tables of Markdown: table.py results.jsonl."""

import json
import sys


DETAILS = {"section", "cublaslt", "workspace_bytes", "waves", "id", "tile", "stages", "split_k", "reduction", "swizzle",
           "option", "inner", "cluster", "runs"}


def read(path):
    """Lines that are whole; a run that was ended may leave half of one."""
    lines = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, text in enumerate(file, 1):
            try:
                lines.append(json.loads(text))
            except ValueError:
                print(f"line {number} of {path} is no JSON and is left out", file=sys.stderr)
    return lines


def table(title, head, rows):
    if not rows:
        return
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


# What performance is planned with, on an H200 (TFLOP/s in training by length, residues a second in embedding).
AIMS = {"train-512": "600 TFLOP/s", "train-2048": "550 TFLOP/s", "embed-none": "120,000 residues/s"}


def number(value, scale=1.0, digits=4):
    return "" if value in (None, 0) else f"{value * scale:.{digits}g}"


def operations(report):
    """Of `protalbert_bench kernels`: its list, or an object that holds it."""
    entries = report if isinstance(report, list) else report.get("operations", [])
    return [[entry["operation"], number(entry.get("seconds"), 1e3), number(entry.get("floor_seconds"), 1e3),
             number(entry.get("over_floor"), digits=3), number(entry.get("flops_per_second"), 1e-12),
             number(entry.get("bytes_per_second"), 1e-9)] for entry in entries if "operation" in entry]


def main():
    lines = read(sys.argv[1])
    table("Steps", ("step", "result", "s"),
          [(line["step"], line["status"], line.get("seconds", "")) for line in lines if "status" in line])
    figures = []
    for line in lines:
        report = line.get("report")
        if isinstance(report, dict) and ("tokens_per_second" in report or "residues_per_second" in report):
            figures.append((line["step"], number(report.get("tokens_per_second", report.get("residues_per_second")), digits=6),
                            number(report.get("model_flops_per_second"), 1e-12), number(report.get("step_seconds")),
                            number(report.get("peak_bytes"), 1e-9), AIMS.get(line["step"], "")))
    table("Whole programs",
          ("run", "tokens or residues a second", "model TFLOP/s", "s a step", "peak host GB", "aim on an H200"), figures)
    for line in lines:
        if line["step"].startswith("kernels-") and "report" in line:
            table(f"Operations: {line['step']}", ("operation", "ms", "floor, ms", "times the floor", "TFLOP/s", "GB/s"),
                  operations(line["report"]))
    results = [(line["step"], line["result"]) for line in lines if isinstance(line.get("result"), dict)]
    for step in dict.fromkeys(step for step, _ in results):
        own = [result for of, result in results if of == step]
        # The details of an algorithm are in the file; a table of thirty columns is none.
        keys = [key for key in dict.fromkeys(key for result in own for key in result)
                if not any(isinstance(result.get(key), dict) for result in own) and key not in DETAILS]
        table(f"Results: {step}", keys, [[number(result[key], digits=5) if isinstance(result.get(key), float)
                                          else result.get(key, "") for key in keys] for result in own])


if __name__ == "__main__":
    main()
