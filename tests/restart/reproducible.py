"""train.reproducible = true: 1, 2, 3, 5 and 7 ranks, of 1, 2, 3 and 5 threads, and a run whose every step has another
number of them, end with the same parameters, moments and metrics, bit for bit. Without it other ranks do not, which shows
that the comparison can fail, but other threads do."""

from runs import arrays, without_times
from pretrain import check, clean, finish, metrics, prepare, run, write_deck, write_proteins

STEPS = 6
LAST = f"step_{STEPS:08}.h5"


def compare(name, numbers, pieces, **changes):
    write_deck(f"{name}.toml", train_steps=STEPS, train_reproducible=True, run_validate_every=3, **changes)
    expected = None
    for ranks in numbers:
        folder = f"{name}_{ranks}"
        code, output = run(ranks, f"{name}.toml", "--set", f"checkpoint.directory={folder}")
        check(code == 0, f"{name} with {ranks} ranks ends well")
        if code != 0:
            print(output)
            continue
        found = arrays(f"{folder}/{LAST}"), without_times(metrics(folder))
        expected = expected or found
        check(found[0] == expected[0], f"{name} with {ranks} ranks: parameters and moments to the bit")
        check(found[1] == expected[1], f"{name} with {ranks} ranks: metrics to the bit")
    for step, ranks in enumerate(pieces):  # a time limit that has passed stops the run after each step
        code, output = run(ranks, f"{name}.toml", "--set", f"checkpoint.directory={name}_pieces", "--set",
                           "run.time_limit=1e-9")
        check(code == (75 if step + 1 < STEPS else 0), f"{name}: step {step} with {ranks} ranks (exit code {code})")
    if not pieces:
        return
    check(arrays(f"{name}_pieces/{LAST}") == expected[0], f"{name}: restarts with other ranks: the same bits")
    check(without_times(metrics(f"{name}_pieces")) == expected[1], f"{name}: and the same metrics")


clean()
write_proteins("proteins.fasta", 300, 10, 120)
prepare("proteins.fasta", "corpus.h5", "--holdout", "0.2")
compare("lamb", (1, 2, 3, 5, 7), (3, 1, 7, 2, 5, 1), train_global_batch=61)
compare("adamw", (1, 3, 7), (), train_global_batch=13, train_optimizer="adamw", data_objective="nsp", model_sharing="none")

# Lengths and widths for which the work of a product or of a sequence's attention is shared out among threads, and that
# fill no tile.
wide = dict(model_hidden=192, model_intermediate=520, model_heads=3, model_embedding=40, model_positions=700,
            data_max_length=650, train_global_batch=7, train_batch_tokens=1500, train_steps=3, run_validate_every=2)


def compare_threads(name, jobs, pieces, **changes):
    write_deck(f"{name}.toml", **wide, **changes)
    expected = None

    def end(ranks, threads, folder, *options):
        code, output = run(ranks, f"{name}.toml", "--set", f"checkpoint.directory={folder}", *options,
                           OMP_NUM_THREADS=str(threads))
        check(f" {threads} thread" in output, f"{name}: {threads} threads a rank")
        return code

    for ranks, threads in jobs:
        folder = f"{name}_{ranks}_{threads}"
        check(end(ranks, threads, folder) == 0, f"{name} with {ranks} ranks of {threads} threads ends well")
        found = arrays(f"{folder}/step_00000003.h5"), without_times(metrics(folder))
        expected = expected or found
        check(found[0] == expected[0], f"{name} with {ranks} ranks of {threads} threads: parameters and moments to the bit")
        check(found[1] == expected[1], f"{name} with {ranks} ranks of {threads} threads: metrics to the bit")
    for step, (ranks, threads) in enumerate(pieces):
        code = end(ranks, threads, f"{name}_pieces", "--set", "run.time_limit=1e-9")
        check(code == (75 if step < 2 else 0), f"{name}: step {step} with {ranks} ranks of {threads} threads")
    check(arrays(f"{name}_pieces/step_00000003.h5") == expected[0], f"{name}: restarts with other threads: the same bits")
    check(without_times(metrics(f"{name}_pieces")) == expected[1], f"{name}: and the same metrics")


write_proteins("long.fasta", 40, 1, 700, seed=2)
prepare("long.fasta", "long.h5", "--holdout", "0.2")
long = dict(data_corpus="long.h5", data_validation="long.validation.h5")
compare_threads("threads", ((1, 1), (1, 2), (1, 3), (1, 5), (2, 3), (3, 1)), ((1, 2), (2, 5), (3, 1)),
                train_reproducible=True, **long)
compare_threads("threads_alone", ((2, 1), (2, 2), (2, 3), (2, 5)), ((2, 3), (2, 1), (2, 5)), train_optimizer="adamw",
                data_objective="nsp", model_activation="gelu", **long)

write_deck("usual.toml", train_steps=STEPS, train_global_batch=61)
for ranks in 1, 3:
    run(ranks, "usual.toml", "--set", f"checkpoint.directory=usual_{ranks}")
check(arrays(f"usual_1/{LAST}") != arrays(f"usual_3/{LAST}"), "without it, sums of other ranks round otherwise")
finish()
