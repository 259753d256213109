"""The same deck with 1, 2, 3 and 7 ranks: the same losses but for rounding, also for batches that ranks cannot share
evenly (13, and ProtAlbert's 10753, both prime)."""

from pretrain import check, clean, finish, metrics, prepare, run, write_deck, write_proteins

KEYS = ["mlm_loss", "sop_loss", "mlm_accuracy", "sop_accuracy", "gradient_norm"]
VALIDATION_KEYS = ["validation_mlm_loss", "validation_sop_loss", "validation_mlm_accuracy", "validation_sop_accuracy"]


def compare(name, tolerance):
    """Float32 sums in another order differ by 1e-7 or so; updates of later steps carry it on, hence the tolerance."""
    reference = None
    for ranks in 1, 2, 3, 7:
        folder = f"{name}_{ranks}"
        code, output = run(ranks, f"{name}.toml", "--set", f"checkpoint.directory={folder}")
        check(code == 0, f"{name} with {ranks} ranks ends well")
        if code != 0:
            print(output)
            continue
        lines = metrics(folder)
        reference = reference or lines
        check(len(lines) == len(reference), f"{name} with {ranks} ranks: {len(lines)} lines of metrics")
        largest = 0.0
        for mine, theirs in zip(lines, reference):
            keys = VALIDATION_KEYS if "validation_loss" in mine else KEYS
            check(mine["step"] == theirs["step"] and mine.get("tokens") == theirs.get("tokens"),
                  f"{name} with {ranks} ranks: same tokens in step {mine['step']}")
            largest = max([largest] + [abs(mine[key] - theirs[key]) / max(abs(theirs[key]), 0.1) for key in keys])
        check(largest <= tolerance, f"{name} with {ranks} ranks: largest difference {largest:.1e}")


clean()
write_proteins("proteins.fasta", 300, 10, 120)
prepare("proteins.fasta", "corpus.h5", "--holdout", "0.2")
write_deck("uneven.toml", run_validate_every=3)
compare("uneven", 1e-5)
write_deck("nsp.toml", data_objective="nsp", train_steps=3)
compare("nsp", 1e-5)
write_deck("few.toml", train_global_batch=2, train_steps=2)  # validation has more sequences at a time than training
compare("few", 1e-5)

write_proteins("tiny.fasta", 11000, 2, 6)
prepare("tiny.fasta", "tiny.h5")
write_deck("prime.toml", data_corpus="tiny.h5", data_validation=None, data_objective="sop", train_global_batch=10753,
           train_steps=1, train_batch_tokens=4000)
compare("prime", 1e-5)
check(metrics("prime_7")[0]["samples"] == 10753, "10753 sequences in a step")
finish()
