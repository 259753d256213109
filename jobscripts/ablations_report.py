#!/usr/bin/env python3
"""Writes report.md and its plots from the metrics of jobscripts/ablations.sh, with the numbers of the ALBERT paper (Lan
et al., ALBERT: A Lite BERT for Self-supervised Learning of Language Representations) beside ours. Reads
FOLDER/RUN/seedN/*.json* and FOLDER/parameters.json alone, so it can be made again without training."""

import argparse
import itertools
import json
import math
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# The four embedding sizes, as in jobscripts/ablations.sh.
SIZES = {"quick": (8, 16, 32, 64), "small": (16, 32, 64, 128), "full": (64, 128, 256, 768)}
# Averages of the paper's tables 3 and 4 over its tasks, percent, by (sharing, place of E among its four sizes).
PAPER_AVERAGE = {
    ("none", 0): 81.3, ("none", 1): 81.7, ("none", 2): 81.8, ("none", 3): 82.3,
    ("all", 0): 79.0, ("all", 1): 80.1, ("all", 2): 79.6, ("all", 3): 79.8,
    ("attention", 1): 81.7, ("ffn", 1): 80.2, ("attention", 3): 81.6, ("ffn", 3): 79.5,
}
# Table 5: accuracies of MLM, NSP and SOP, and the average over its tasks, percent.
PAPER_TASKS = {"none": (54.9, 52.4, 53.3, 79.0), "nsp": (54.5, 90.5, 52.0, 79.2), "sop": (54.0, 78.9, 86.5, 80.1)}
# Two-sided quantiles of Student's distribution, 95 %, by degrees of freedom: seeds are few.
STUDENT = [math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306]


class Run:
    """One trained model that is finished: what its folder says."""

    def __init__(self, folder):
        self.name, self.seed = folder.parent.name, int(folder.name.removeprefix("seed"))
        lines = [json.loads(line) for line in open(folder / "metrics.jsonl")]
        self.steps = [line for line in lines if "seconds" in line]
        # Tokens and seconds so far, by step; the time of validations and saves is left out.
        tokens = itertools.accumulate(line["tokens"] for line in self.steps)
        seconds = itertools.accumulate(line["seconds"] for line in self.steps)
        self.so_far = {line["step"]: sums for line, sums in zip(self.steps, zip(tokens, seconds))}
        self.validation = [line for line in lines if "validation_mlm_loss" in line and line["step"] in self.so_far]
        self.tokens, self.seconds = list(self.so_far.values())[-1]
        self.parameters, self.stability, self.sentence, self.inference = (
            json.load(open(folder / f"{name}.json")) if (folder / f"{name}.json").exists() else None
            for name in ("parameters", "stability", "sentence", "inference"))
        model = self.parameters["model"]
        self.sharing, self.embedding, self.hidden = model["sharing"], model["embedding_size"], model["hidden_size"]
        self.layers = model["num_hidden_layers"]
        self.count = self.parameters["encoder"] + self.parameters["pooler"]

    @property
    def loss(self):
        return self.validation[-1]["validation_mlm_loss"]

    @property
    def accuracy(self):
        return 100 * self.validation[-1]["validation_mlm_accuracy"]

    @property
    def rate(self):
        """Tokens a second of the median step: other users of the machine slow some steps."""
        return statistics.median(line["tokens_per_second"] for line in self.steps[len(self.steps) // 10:])


def mean_and_error(values):
    """Mean and standard error; the error of one value is unknown."""
    mean = statistics.mean(values)
    return mean, statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def shown(values, digits=4):
    mean, error = mean_and_error(values)
    return f"{mean:.{digits}f}" + (f" ± {error:.{digits}f}" if len(values) > 1 else "")


class Difference:
    """Of a figure between two models, over the seeds that both were trained with: those share order, masks and held-out
    samples, so that differences of pairs are less noisy than the figures."""

    def __init__(self, first, second, figure=lambda run: run.loss):
        second = {run.seed: run for run in second}
        self.values = [figure(run) - figure(second[run.seed]) for run in first if run.seed in second]
        self.known = len(self.values) > 1
        if self.values:
            self.mean, self.error = mean_and_error(self.values)
        self.significant = self.known and abs(self.mean) > STUDENT[len(self.values) - 1] * self.error

    def text(self, unit="nats", digits=4):
        if not self.values:
            return "not measured"
        if not self.known:
            return f"{self.mean:+.{digits}f} {unit} (one seed: noise unknown)"
        noise = "" if self.significant else ", within noise"
        return f"{self.mean:+.{digits}f} ± {self.error:.{digits}f} {unit}{noise}"


def verdict(difference, expected, cost=None):
    """Whether a difference has the sign (+1, -1) that the paper found; or, where it found no more than `cost` of that sign,
    whether that is so here."""
    if not difference.values:
        return "NOT MEASURED"
    if not difference.known:
        return "UNDECIDED, one seed"
    same_sign = difference.mean * expected > 0
    if cost is not None:
        return "DOES NOT HOLD" if difference.significant and same_sign and abs(difference.mean) > cost else "HOLDS"
    if not difference.significant:
        return "WITHIN NOISE"
    return "HOLDS" if same_sign else "DOES NOT HOLD"


def roughness(run):
    """How sharply the angle's curve over the trained iterations bends: the mean of its second differences' sizes, in
    degrees. A curve that falls evenly is smooth. Takes three iterations."""
    degrees = [change["degrees"] for change in run.stability["iterations"][:run.stability["trained_iterations"]]]
    return statistics.mean(abs(a - 2 * b + c) for a, b, c in zip(degrees, degrees[1:], degrees[2:]))


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def mebibytes(size):
    return f"{size / 2**20:.1f}"


class Report:
    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        found = sorted(path.parent for path in folder.glob("*/seed*/parameters.json"))
        self.runs = [Run(path) for path in found if (path / "finished").exists()]
        self.unfinished = [f"{path.parent.name}, seed {path.name.removeprefix('seed')}" for path in found
                           if not (path / "finished").exists()]
        self.sizes = SIZES[size]
        self.parts, self.findings = [], []

    def named(self, name):
        return [run for run in self.runs if run.name == name]

    def at(self, sharing, place):
        """The runs of a sharing at the first, second ... of the four embedding sizes."""
        return self.named(f"{sharing}_E{self.sizes[place]}")

    def add(self, text):
        self.parts.append(text)

    def find(self, paper, difference, expected, ours, unit="nats", digits=4, cost=None):
        self.findings.append((paper, verdict(difference, expected, cost), f"{ours}: {difference.text(unit, digits)}"))

    # 1
    def parameter_counts(self):
        self.add("## 1. Parameters\n\nThe paper's tables, counted as its code counts (30,000 pieces, 512 positions, pooler, no "
                 "heads); the paper prints whole millions, most of them cut off, and 233 for xxlarge in its text.\n")
        counts = json.load(open(self.folder / "parameters.json"))
        self.add(table(("table", "model", "E", "counted", "printed, millions"),
                       [(row["table"], row["model"], row["embedding"], f"{row['counted']:,}", f"{row['printed_millions']:g}")
                        for row in counts["paper"]]))
        protein = counts["prot_albert"]
        total = protein["encoder"] + protein["pooler"]
        self.add(f"ProtAlbert (V 34, 40,000 positions) has {total:,} parameters with pooler, {total + protein['heads']:,} "
                 "with both heads:\n")
        self.add(table(("tensor", "shape", "parameters"),
                       [(f"`{tensor['name']}`", " x ".join(map(str, tensor["shape"])), f"{tensor['size']:,}")
                        for tensor in protein["tensors"]]))

    # 2
    def factorised_embedding(self):
        self.add("## 2. Factorised embedding (table 3)\n\nA protein vocabulary has 34 pieces, so E saves no word table worth "
                 "mentioning: E x 34 numbers instead of H x 34. What E still decides is the position table (its rows are E wide), "
                 "the rank of what the encoder is given, and the width of the head for masked residues. With E below 34 not even "
                 "the pieces can be independent. The paper's column is its average over downstream tasks, in percent, for E of 64, "
                 "128, 256 and 768; ours is the loss of masked residues held out, in nats, where less is better.\n")
        rows = []
        for sharing, place in itertools.product(("none", "all"), range(len(self.sizes))):
            runs = self.at(sharing, place)
            if runs:
                rows.append((sharing, self.sizes[place], f"{runs[0].count:,}", shown([run.loss for run in runs]),
                             shown([run.accuracy for run in runs], 2), len(runs), PAPER_AVERAGE[sharing, place]))
        self.add(table(("shared", "E", "parameters", "loss", "accuracy, %", "seeds", "paper, %"), rows))
        self.find("Without sharing, larger embeddings are slightly better (E 64: 81.3, E = H: 82.3)",
                  Difference(self.at("none", 3), self.at("none", 0)), -1, "loss of E = H less that of the smallest E")
        self.find("With sharing, the second size (128) is better than the smallest (80.1 against 79.0)",
                  Difference(self.at("all", 1), self.at("all", 0)), -1, "loss of the second E less that of the smallest")
        self.find("With sharing, the second size (128) is better than E = H (80.1 against 79.8)",
                  Difference(self.at("all", 1), self.at("all", 3)), -1, "loss of the second E less that of E = H")
        figure, axes = plt.subplots(figsize=(7, 4.5))
        for sharing in ("none", "all"):
            points = [(self.sizes[place], mean_and_error([run.loss for run in self.at(sharing, place)]))
                      for place in range(len(self.sizes)) if self.at(sharing, place)]
            axes.errorbar([size for size, _ in points], [mean for _, (mean, _) in points],
                          [0 if math.isnan(error) else error for _, (_, error) in points], fmt="o-", capsize=3,
                          label="not shared" if sharing == "none" else "all shared")
        axes.set_xscale("log")
        axes.set_xticks(self.sizes, [str(size) for size in self.sizes])
        axes.minorticks_off()
        axes.set_xlabel("embedding size E")
        self.save(figure, axes, "embedding.png", "loss at held-out masked residues (nats)")

    # 3
    def sharing(self):
        self.add("## 3. Sharing (table 4)\n\nMemory is a rank's, without activations, which sharing does not change; reduction is "
                 "the gradient that the ranks sum in each step.\n")
        rows = []
        for place, sharing in itertools.product((1, 3), ("all", "attention", "ffn", "none")):
            runs = self.at(sharing, place)
            if runs:
                cost = runs[0].parameters
                rows.append((self.sizes[place], sharing, f"{runs[0].count:,}", shown([run.loss for run in runs]),
                             shown([run.accuracy for run in runs], 2), len(runs),
                             mebibytes(cost["parameter_bytes"] + cost["optimizer_bytes"]), mebibytes(cost["reduction_bytes"]),
                             f"{statistics.mean(run.rate for run in runs):,.0f}", PAPER_AVERAGE[sharing, place]))
        self.add(table(("E", "shared", "parameters", "loss", "accuracy, %", "seeds", "memory, MiB", "reduction, MiB",
                        "tokens/s", "paper, %"), rows))
        for place, paper in ((1, "80.1 against 81.6"), (3, "79.8 against 82.3")):
            self.find(f"Sharing everything costs quality ({paper} at {'E 128' if place == 1 else 'E = H'})",
                      Difference(self.at("all", place), self.at("none", place)), +1,
                      f"loss of all shared less that of none, E {self.sizes[place]}")
        self.find("Most of that comes from sharing the feed-forward part (E 128: 80.2 against 81.7 with attention alone)",
                  Difference(self.at("ffn", 1), self.at("attention", 1)), +1,
                  f"loss of feed-forward shared less that of attention shared, E {self.sizes[1]}")
        self.find("Sharing attention alone costs nothing at E 128 (81.7 against 81.6)",
                  Difference(self.at("attention", 1), self.at("none", 1)), +1,
                  f"loss of attention shared less that of none, E {self.sizes[1]}", cost=0)
        for place in (1, 3):
            self.curves([(sharing, self.at(sharing, place)) for sharing in ("all", "attention", "ffn", "none")],
                        f"sharing_E{self.sizes[place]}.png")

    def curves(self, groups, name):
        """Validation loss against tokens and against time, a line a seed."""
        if not any(runs for _, runs in groups):
            return
        figure, both = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
        for axes, place, scale, label in ((both[0], 0, 1e6, "million tokens"), (both[1], 1, 60, "minutes of training steps")):
            for number, (title, runs) in enumerate(groups):
                for run in runs:
                    points = [(run.so_far[line["step"]][place] / scale, line["validation_mlm_loss"])
                              for line in run.validation]
                    axes.plot(*zip(*points), "o-", markersize=3, color=f"C{number}", alpha=0.7,
                              label=title if run is runs[0] else None)
            axes.set_xlabel(label)
        both[1].legend()
        self.save(figure, both[0], name, "loss at held-out masked residues (nats)", legend=False)

    # 4
    def stability(self):
        self.add("## 4. Stability (figure 1)\n\nMeans over the tokens of held-out proteins of the L2 distance and of the angle between "
                 "the input and the output of every iteration; the first input is the projected embedding. Iterations beyond the "
                 "trained depth, which only a shared layer has, are dashed. The cosine similarity is the angle's.\n")
        chosen = [(title, run) for title, runs in (("all shared", self.at("all", 1)), ("not shared", self.at("none", 1)))
                  for run in runs if run.stability]
        if not chosen:
            self.add("Not measured.\n")
            return
        figure, both = plt.subplots(1, 2, figsize=(12, 4.5))
        rows = []
        for title, run in chosen:
            trained, changes = run.stability["trained_iterations"], run.stability["iterations"]
            for axes, key in zip(both, ("distance", "degrees")):
                values, color = [change[key] for change in changes], "C0" if title == "all shared" else "C1"
                axes.plot(range(1, trained + 1), values[:trained], "o-", color=color, alpha=0.7,
                          label=title if run.seed == 1 else None)
                axes.plot(range(trained, len(values) + 1), values[trained - 1:], "--", color=color, alpha=0.7)
            if run.seed == 1:
                rows += [(title, change["iteration"], f"{change['distance']:.3f}", f"{change['cosine']:.4f}",
                          f"{change['degrees']:.2f}", "beyond" if change["iteration"] > trained else "")
                         for change in changes]
        for axes, label in zip(both, ("L2 distance of output from input", "angle between input and output (degrees)")):
            axes.set_xlabel("iteration")
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
        self.add("Seed 1:\n")
        self.add(table(("layers", "iteration", "L2 distance", "cosine similarity", "degrees", "trained depth"), rows))
        self.save(figure, both[0], "stability.png", "L2 distance of output from input")
        shared, unshared = ([run for other, run in chosen if other == title] for title in ("all shared", "not shared"))
        rough = Difference(*([run for run in runs if run.stability["trained_iterations"] > 2] for runs in (shared, unshared)),
                           roughness)
        self.findings.append(("Changes from layer to layer are much smoother when shared", verdict(rough, -1),
                              "bend of the angle's curve (mean second difference), shared less not shared: "
                              f"{rough.text('degrees', 2)}"))
        if shared:
            depth = shared[0].stability["trained_iterations"]
            at_depth, beyond = (statistics.mean(run.stability["iterations"][place]["degrees"] for run in shared)
                                for place in (depth - 1, -1))
            # A fixed point would make the change vanish; a tenth is this report's own limit for that.
            self.findings.append(
                ("A shared layer does not converge to a fixed point", "HOLDS" if beyond > 0.1 * at_depth else "DOES NOT HOLD",
                 f"iteration {depth}, the last one trained, turns a token's vector by {at_depth:.2f} degrees, iteration "
                 f"{len(shared[0].stability['iterations'])} by {beyond:.2f}"))

    # 5
    def sentence_tasks(self):
        self.add("## 5. Sentence tasks (table 5)\n\nEach model's head, as it is, answers both tasks on held-out proteins: sop, whether "
                 "the two parts of a protein are in order; nsp, whether the second part comes from another protein. A model trained "
                 "without a sentence task has an untrained head, and has never seen a second segment: its masked accuracy is "
                 "measured on samples of one segment, the others' on their own kind. Accuracies in percent.\n")
        rows, groups = [], {"none": self.named("task_none"), "nsp": self.named("task_nsp"), "sop": self.at("all", 1)}
        for task, runs in groups.items():
            runs = [run for run in runs if run.sentence]
            groups[task] = runs
            if runs:
                values = [[100 * run.sentence[task]["mlm_accuracy"] for run in runs]]
                values += [[100 * run.sentence[kind]["sentence_accuracy"] for run in runs] for kind in ("nsp", "sop")]
                values += [[100 * run.sentence["none"]["mlm_accuracy"] for run in runs]]
                rows.append((task, *(shown(value, 2) for value in values), len(runs), *PAPER_TASKS[task]))
        self.add(table(("trained for", "masked", "nsp", "sop", "masked, one segment", "seeds", "paper: masked", "nsp", "sop",
                        "average of tasks"), rows))
        sequences = next((run.sentence["sop"]["sentences"] for run in itertools.chain(*groups.values())), 0)
        if not sequences:
            return
        chance = 100 * 0.5 / math.sqrt(sequences)
        self.add(f"Guessing gives 50 % with a standard error of {chance:.1f} % over these {sequences:,} samples.\n")
        for trained, asked, paper, expect_skill in (
                ("nsp", "nsp", "A model trained for NSP solves NSP (90.5)", True),
                ("sop", "sop", "A model trained for SOP solves SOP (86.5)", True),
                ("nsp", "sop", "NSP teaches nothing about SOP (52.0, guessing)", False),
                ("sop", "nsp", "SOP solves NSP as well, to a part (78.9)", True)):
            values = [100 * run.sentence[asked]["sentence_accuracy"] for run in groups[trained]]
            if not values:
                continue
            # Beyond guessing by more than two standard errors of guessing, over all seeds.
            skill = statistics.mean(values) > 50 + 2 * chance / math.sqrt(len(values))
            word = "HOLDS" if skill == expect_skill else "DOES NOT HOLD"
            # Nearer to guessing than to no mistakes is no solution.
            if trained == asked and skill and statistics.mean(values) < 75:
                word = "IN PART: better than guessing"
            if not expect_skill and not any(
                    100 * run.sentence["nsp"]["sentence_accuracy"] > 50 + 2 * chance for run in groups["nsp"]):
                word = "UNDECIDED, for NSP itself was not learnt"
            self.findings.append((paper, word, f"trained for {trained}, asked for {asked}: {shown(values, 2)} %"))
        for task in ("nsp", "sop"):
            # On samples of one segment, which both can read.
            self.find(f"The sentence task {task} hardly costs accuracy of masked tokens (54.9 without, {PAPER_TASKS[task][0]})",
                      Difference(groups[task], groups["none"], lambda run: 100 * run.sentence["none"]["mlm_accuracy"]), -1,
                      f"accuracy with {task} less that without a task", "percentage points", 2,
                      cost=PAPER_TASKS["none"][0] - PAPER_TASKS[task][0])

    # 6
    def same_time(self):
        self.add("## 6. The same time (table 6)\n\nBERT-shaped (E = H, nothing shared), ALBERT-shaped at the same H, and ALBERT of twice "
                 "the width, each trained for about the same time: the steps of its schedule are chosen by a short trial. The paper "
                 "trains BERT-large for 34 h (400k steps, average 87.2) and ALBERT-xxlarge for 32 h (125k steps, 88.7); its table 1 "
                 "gives speeds against BERT-large of 4.7 (BERT-base) and 5.6 (ALBERT-base), which are those of training: less is "
                 "reduced and updated. Inference computes the same layers, shared or not.\n")
        rows, groups = [], {name: self.named(f"time_{name}") for name in ("bert", "albert", "wide")}
        for name, runs in groups.items():
            if runs:
                speeds = [run.inference["residues_per_second"] for run in runs if run.inference]
                rows.append((name, f"{runs[0].layers}, {runs[0].hidden}, {runs[0].embedding}", f"{runs[0].count:,}",
                             shown([run.seconds / 60 for run in runs], 2), f"{statistics.mean(len(run.steps) for run in runs):.0f}",
                             shown([run.loss for run in runs]), shown([run.accuracy for run in runs], 2), len(runs),
                             f"{statistics.mean(run.rate for run in runs):,.0f}",
                             f"{statistics.mean(speeds):,.0f}" if speeds else ""))
        self.add(table(("model", "L, H, E", "parameters", "minutes", "steps", "loss", "accuracy, %", "seeds", "training tokens/s",
                        "inference residues/s"), rows))
        self.find("In the same time, a wider ALBERT is better than BERT (88.7 against 87.2)",
                  Difference(groups["wide"], groups["bert"]), -1, "loss of wide less that of bert")
        self.find("At the same shape, ALBERT trains faster than BERT (5.6 against 4.7)",
                  Difference(groups["albert"], groups["bert"], lambda run: run.rate), +1,
                  "tokens/s of albert less those of bert", "tokens/s", 0)
        self.find("Inference is as fast, shared or not",
                  Difference([run for run in groups["albert"] if run.inference], [run for run in groups["bert"] if run.inference],
                             lambda run: run.inference["residues_per_second"]), -1,
                  "residues/s of albert less those of bert", "residues/s", 0, cost=0)
        self.curves(list(groups.items()), "same_time.png")

    def save(self, figure, axes, name, label, legend=True):
        axes.set_ylabel(label)
        if legend:
            axes.legend()
        figure.tight_layout()
        figure.savefig(self.folder / name, dpi=120)
        plt.close(figure)
        self.add(f"![{name}]({name})\n")

    def write(self):
        self.parameter_counts()
        if self.runs:
            self.factorised_embedding()
            self.sharing()
            self.stability()
            self.sentence_tasks()
            self.same_time()
        head = ["# ALBERT's experiments on proteins\n"]
        if self.size == "quick":
            head.append("**These numbers come from the quick mode: tiny models, trained for seconds. They show that the programs work, "
                        "and nothing about ALBERT or proteins.**\n")
        if self.runs:
            base = (self.at("all", 1) or self.runs)[0]
            model = base.parameters["model"]
            head.append(f"Base: {base.layers} iterations, H {base.hidden}, F {model['intermediate_size']}, {model['num_attention_heads']} "
                        f"heads, E {base.embedding}; {len(base.steps)} steps of {base.parameters['global_batch']} samples of at most "
                        f"{base.parameters['max_length']} tokens, {base.tokens / 1e6:.2f} million tokens. {len(self.runs)} runs are finished.\n")
        if self.unfinished:
            head.append(f"Not finished, and left out: {'; '.join(self.unfinished)}.\n")
        head.append("± is the standard error over seeds. Differences are of pairs with the same seed, that is the same order, masks and "
                    "held-out samples; within noise means less than Student's 95 % limit for so many seeds. Minutes are sums over the "
                    "training steps as the clock saw them, others' use of the machine included; tokens/s are those of the median "
                    "step.\n")
        if self.findings:
            head.append("## The paper's findings\n\nAt this size, on these proteins:\n")
            head.append(table(("the paper", "here", "measured"), self.findings))
        (self.folder / "report.md").write_text("\n".join(head + self.parts))
        print(f"{self.folder / 'report.md'}: {len(self.runs)} finished runs, {len(self.unfinished)} unfinished")
        for paper, word, measured in self.findings:
            print(f"  {word}: {paper}\n      {measured}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="output of jobscripts/ablations.sh")
    parser.add_argument("--size", choices=("quick", "small", "full"), default="small", help="as it was made")
    arguments = parser.parse_args()
    if not (arguments.folder / "parameters.json").exists():
        raise SystemExit(f"error: {arguments.folder} has no parameters.json; name the output folder of jobscripts/ablations.sh")
    Report(arguments.folder, arguments.size).write()


if __name__ == "__main__":
    main()
