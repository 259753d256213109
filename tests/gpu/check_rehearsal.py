"""Each step's status on a machine without a GPU: check_rehearsal.py STAGE_1.jsonl STAGE_2.jsonl."""

import json
import sys

# What needs no GPU passes, what Python lacks is skipped; all others must notice that there is no GPU. None may go missing.
PASSED = {"machine", "programs-cpu"}
SKIPPED = {"programs-compared", "pytorch", "transformers"}
STAGES = [
    """machine smoke kernels-float32 kernels-bfloat16 kernels-shifted parity programs-cpu memory kernels-512 train-512
    kernels-2048 train-2048 probe-a probe-b probe-c probe-d float8-a float8-b float8-c embed-none embed-float16
    embed-float32 programs-cuda programs-compared pytorch transformers""",
    """machine memcheck-every-operation memcheck-attention memcheck-attention-float32 memcheck-rows memcheck-others
    memcheck-shifted memcheck-simple racecheck-every-operation racecheck-attention racecheck-attention-float32
    racecheck-rows racecheck-others racecheck-shifted ncu-attention_forward_kernel ncu-attention_backward_kv_kernel
    ncu-attention_backward_q_kernel ncu-layer_norm_backward_kernel ncu-residual_layer_norm_kernel
    ncu-gelu_backward_kernel ncu-column_sums_kernel"""]


def expected(step):
    return "passed" if step in PASSED else "skipped" if step in SKIPPED else "no GPU"


failed = []
for path, steps in zip(sys.argv[1:], STAGES):
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    found = {line["step"]: line["status"] for line in lines if "status" in line}
    wanted = {step: expected(step) for step in steps.split()}
    # An older CUDA has no FP8 to probe.
    if not any(step.startswith("float8") for step in found):
        wanted = {step: status for step, status in wanted.items() if not step.startswith("float8")}
    failed += [f"{step}: {found.get(step, 'missing')}, not {wanted.get(step, 'expected at all')}"
               for step in sorted(found.keys() | wanted.keys()) if found.get(step) != wanted.get(step)]
    print(f"{path}: {len(found)} steps")
if failed:
    sys.exit("failed: " + "; ".join(failed))
