"""The timeline of two ranks: a file for Chrome's viewer with all lanes, in which every gradient's reduction but the last
one's is hidden behind computation."""

import json

from pretrain import check, clean, finish, prepare, run, write_deck, write_proteins

STEPS = 6
WAIT = "wait for other ranks' gradients"


def spans(events, rank, lane):
    found = [event for event in events if event["ph"] == "X" and event["pid"] == rank and event["cat"] == lane]
    return sorted(found, key=lambda event: event["ts"])


def end(event):
    return event["ts"] + event["dur"]


def steps_of_rank(events, rank):
    """For each step: its gradients' computations and their reductions, both in the order in which they began."""
    computing, reducing, steps = spans(events, rank, "compute"), spans(events, rank, "reduction"), []
    names = {event["name"] for event in reducing}
    begin = 0
    for wait in (event for event in computing if event["name"] == WAIT):
        inside = lambda event: begin <= event["ts"] < end(wait)
        steps.append(([event for event in computing if event["name"] in names and inside(event)],
                      [event for event in reducing if inside(event)]))
        begin = end(wait)
    return steps


def check_rows(events):
    """Within a row spans follow each other or lie within each other, or the viewer loses some."""
    rows = {}
    for event in events:
        if event["ph"] == "X":
            rows.setdefault((event["pid"], event["tid"]), []).append(event)
    crossing = 0
    for row in rows.values():
        for first in row:
            for second in row:
                # A microsecond's thousandth is the file's resolution.
                crossing += first["ts"] + 0.002 < second["ts"] < end(first) - 0.002 < end(second) - 0.004
    check(crossing == 0, "no two spans of a row cross")


clean()
write_proteins("proteins.fasta", 200, 90, 125)
prepare("proteins.fasta", "corpus.h5")
# The last product takes several times as long as the reduction of the gradient before it, on a busy machine, too.
write_deck("deck.toml", data_validation=None, data_max_length=128, model_hidden=256, model_intermediate=1024,
           model_heads=4, model_layers=10, train_global_batch=20, train_batch_tokens=4096, train_steps=STEPS + 2)
code, output = run(2, "deck.toml", "--timeline", "timeline.json", "--timeline-steps", STEPS)
check(code == 0 and f"the timeline of {STEPS} steps is in timeline.json" in output, "the run writes a timeline")
events = json.load(open("timeline.json"))["traceEvents"]
lanes = {(event["pid"], event["args"]["name"]) for event in events if event["name"] == "thread_name"}
check({(rank, lane) for rank in (0, 1) for lane in ("compute", "reduction", "data")} <= lanes and (0, "I/O") in lanes,
      "every rank has lanes for computation, reduction and data, and the rank that read has one for I/O")
check_rows(events)

by_rank = [steps_of_rank(events, rank) for rank in (0, 1)]
check([len(steps) for steps in by_rank] == [STEPS, STEPS], "all steps are in it")
hidden_steps = 0
for step in range(STEPS):
    both = [by_rank[rank][step] for rank in (0, 1)]
    names = [[event["name"] for event in reductions] for _, reductions in both]
    check(len(names[0]) == 6 and names[0] == names[1] and [event["name"] for event in both[0][0]] == names[0],
          f"step {step}: a reduction follows each gradient's computation, in the same order on both ranks")
    # A rank that the machine holds up is waited for; what the others wait then is not the reduction's time.
    computed = max(end(computations[-1]) for computations, _ in both)
    exposed = [event["name"] for _, reductions in both for event in reductions[:-1] if end(event) > computed]
    hidden_steps += not exposed
    print(f"step {step}: last gradient computed {max(end(r[-1]) for _, r in both) - computed:.0f} us before the last "
          f"reduction ends; exposed but for the last: {exposed or 'none'}")
check(hidden_steps > STEPS / 2, f"only the last reduction is exposed: in {hidden_steps} of {STEPS} steps")

code, output = run(1, "deck.toml", "--resume", "never", "--set", "checkpoint.directory=other", "--timeline",
                   "missing/timeline.json")
check(code == 2 and "missing" in output, "a folder that does not exist is bad input")
finish()
