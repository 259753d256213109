"""Real tokens/s of pretraining: protalbert_bench train beside transformers' AlbertForPreTraining.

Both sides take the same proteins in the same order, the same sizes and the same number of threads, and train both
losses (masked residues, sentence order) in float32 with clipping. Hugging Face's side is given every advantage that its
users have: batches made beforehand (untimed; ours are timed), its default attention, PyTorch's AdamW, and either way of
padding: to the batch's longest sample (DataCollatorForLanguageModeling's default) and to the maximum length (run_mlm's
--pad_to_max_length, and the fixed-length records of ALBERT's own pipeline). Real tokens exclude padding.
"""

import argparse
import random
import time

import torch
import transformers

import common


def make_samples(proteins, length, generator):
    """[CLS] A [SEP] B [SEP] of each protein, half of the pairs swapped, 15 % of the tokens masked."""
    samples = []
    for protein in proteins:
        residues = protein[: length - 3]
        if len(residues) < 2:
            residues = residues * 2
        cut = generator.randint(1, len(residues) - 1)
        first, second = residues[:cut], residues[cut:]
        swapped = generator.random() < 0.5
        if swapped:
            first, second = second, first
        tokens = [common.CLS] + first + [common.SEP] + second + [common.SEP]
        segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        labels = [-100] * len(tokens)
        places = [i for i, token in enumerate(tokens) if token not in (common.CLS, common.SEP)]
        for place in generator.sample(places, max(1, min(len(places), round(0.15 * len(tokens))))):
            labels[place] = tokens[place]
            tokens[place] = common.MASK
        samples.append((tokens, segments, labels, int(swapped)))
    return samples


def collate(samples, width):
    """Tensors of a batch padded to `width` tokens, or to the longest sample for width 0."""
    width = width or max(len(tokens) for tokens, *_ in samples)
    pad = lambda values, filler: values + [filler] * (width - len(values))
    return {
        "input_ids": torch.tensor([pad(tokens, common.PAD) for tokens, *_ in samples]),
        "attention_mask": torch.tensor([pad([1] * len(tokens), 0) for tokens, *_ in samples]),
        "token_type_ids": torch.tensor([pad(segments, 0) for _, segments, _, _ in samples]),
        "labels": torch.tensor([pad(labels, -100) for _, _, labels, _ in samples]),
        "sentence_order_label": torch.tensor([swapped for *_, swapped in samples]),
    }


class HuggingFace:
    def __init__(self, options):
        torch.manual_seed(1)
        config = transformers.AlbertConfig(
            vocab_size=common.VOCABULARY, embedding_size=options.embedding, hidden_size=options.hidden,
            num_hidden_layers=options.layers, num_attention_heads=max(1, options.hidden // 64),
            intermediate_size=4 * options.hidden, hidden_act="gelu_new", hidden_dropout_prob=0,
            attention_probs_dropout_prob=0, classifier_dropout_prob=0, max_position_embeddings=options.positions)
        self.model = transformers.AlbertForPreTraining(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.01)

    def step(self, batch):
        self.optimizer.zero_grad()
        loss = self.model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def rate(self, samples, batch_size, steps, width):
        """Real tokens/s over `steps` steps after one that is not timed."""
        batches, tokens = [], 0
        for k in range(steps + 1):
            chosen = [samples[(k * batch_size + i) % len(samples)] for i in range(batch_size)]
            batches.append(collate(chosen, width))
            tokens += sum(len(sample[0]) for sample in chosen) if k > 0 else 0
        self.step(batches[0])
        start = time.perf_counter()
        for batch in batches[1:]:
            self.step(batch)
        return tokens / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the program protalbert_bench")
    parser.add_argument("--fasta", required=True, help="proteins, plain or gzip")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--embedding", type=int, default=128)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--positions", type=int, default=2048, help="rows of the position table")
    parser.add_argument("--steps", type=int, default=4, help="timed steps a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side, alternating")
    parser.add_argument("--threads", type=int, default=common.default_threads())
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    count = options.batch * (options.steps + 1)
    proteins = common.read_proteins(options.fasta, count, options.length, cut=True)
    samples = make_samples(proteins, options.length, random.Random(1))
    real = sum(len(sample[0]) for sample in samples) / len(samples)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {options.threads} threads")
    print(f"H = {options.hidden}, {options.layers} iterations, length {options.length}, batch {options.batch}; "
          f"{len(samples)} samples of {real:.0f} real tokens on average ({real / options.length:.0%} of the length)",
          flush=True)

    paddings = {"Hugging Face, padded to the maximum length": options.length,
                "Hugging Face, padded to the batch's longest": 0}
    ours, others = [], {name: [] for name in paddings}
    huggingface = HuggingFace(options)
    for round_number in range(options.rounds):
        arguments = ["train", "--fasta", options.fasta, "--hidden", options.hidden, "--layers", options.layers,
                     "--embedding", options.embedding, "--length", options.length, "--batch", options.batch,
                     "--positions", options.positions, "--steps", options.steps, "--proteins", count]
        ours.append(common.run_bench(options.bench, arguments, options.threads)["tokens_per_second"])
        line = f"round {round_number + 1}: protalbert {ours[-1]:.0f}"
        for name, width in paddings.items():
            others[name].append(huggingface.rate(samples, options.batch, options.steps, width))
            line += f", {name} {others[name][-1]:.0f}"
        print(line, flush=True)
    common.print_table("real tokens/s", ours, others)


if __name__ == "__main__":
    main()
