#!/usr/bin/env bash
# protalbert_bench kernels, and its comparison with oneDNN where the program has that. kernels.sh BUILD_FOLDER, in a folder
# of its own.
set -euo pipefail
program=$1/protalbert_bench
tiny=(kernels --hidden 64 --intermediate 128 --heads 2 --embedding 16 --layers 1 --tokens 64 --length 32 --seconds 0.001
    --device cpu --json report.json)

"$program" "${tiny[@]}" >with.txt || { cat with.txt; exit 1; }
compared=''
if grep -q 'built without oneDNN' with.txt; then
    echo "skipped: the comparison with oneDNN, without which this program was built"
else
    compared=yes
fi
python3 - "$compared" <<'PYTHON' || { cat with.txt; exit 1; }
import json, sys

text, report = open("with.txt").read(), json.load(open("report.json"))
figure = json.loads(text.splitlines()[-1].removeprefix("figure-of-merit "))
assert figure["value"] > 0 and figure["attention_slowness"] > 0
ratios = {entry["operation"]: entry["over_onednn"] for entry in report if "over_onednn" in entry}
if sys.argv[1]:
    # Each of the four weights: forward, and the gradients of its data and of itself.
    assert set(ratios) == {entry["operation"] for entry in report if entry["operation"].startswith("linear")}
    assert len(ratios) == 12 and min(ratios.values()) > 0
    assert figure["lowest_over_onednn"] == min(ratios.values())
    assert "x oneDNN" in text
else:
    assert not ratios and "x oneDNN" not in text
PYTHON
echo "passed: every operation and, where it can be, its comparison"

"$program" "${tiny[@]}" --without-product >without.txt || { cat without.txt; exit 1; }
if grep -q oneDNN without.txt report.json; then
    cat without.txt
    echo "failed: --without-product still compares"
    exit 1
fi
echo "passed: --without-product"

# Another run's file is not written over while that is at work: ten seconds are waited, then it is refused.
exec 9>held.json.lock
flock 9
echo '{}' >held.json
code=0
"$program" parameters --json held.json >held.txt 2>&1 9>&- || code=$?
[ $code = 2 ] && grep -q 'another run is at work at held.json' held.txt && [ "$(cat held.json)" = '{}' ] ||
    { echo "FAILED: exit code $code beside a run at held.json:"; cat held.txt; exit 1; }
exec 9>&-
"$program" parameters --json held.json >held.txt && [ "$(cat held.json)" != '{}' ] && [ ! -e held.json.lock ] ||
    { echo "FAILED: --json where no run is at work:"; cat held.txt; exit 1; }
