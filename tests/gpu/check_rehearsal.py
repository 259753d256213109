"""Each step's status on a machine without a GPU: check_rehearsal.py STAGE_1.jsonl STAGE_2.jsonl."""

import json
import sys

# What a machine without a GPU can do; the other steps must notice that it has none, or no tool for them.
PASS = {"machine", "programs-cpu"}
STEPS = (23, 18)  # at least, of each stage: none may go missing unseen
failed = []
for path, least in zip(sys.argv[1:], STEPS):
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    steps = {line["step"]: line["status"] for line in lines if "status" in line}
    print(f"{path}: {len(steps)} steps")
    if len(steps) < least:
        failed.append(f"{path} has {len(steps)} steps, fewer than {least}")
    for step, status in steps.items():
        if status not in (("passed",) if step in PASS else ("no GPU", "skipped")):
            failed.append(f"{step}: {status}")
if failed:
    sys.exit("failed: " + "; ".join(failed))
