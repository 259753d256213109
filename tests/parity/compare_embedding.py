"""Residues/s of embedding at ProtAlbert's full size: protalbert_bench embed beside transformers' AlbertModel.

Both sides have random weights, the exact GELU and the same proteins, and deliver every residue's vector and each
protein's mean on the host. On a CPU both compute in float32 with the same number of threads, on a GPU in bfloat16 with
vectors that leave it as float16. Hugging Face's side has PyTorch's fused attention (SDPA) and runs padded batches of
four in the file's order, as the published notebooks do, proteins one by one, and batches of neighbours in length, as
many tokens at once as protalbert has.
"""

import argparse
import statistics
import sys
import time

import torch
import transformers

import common


class HuggingFace:
    def __init__(self, options):
        torch.manual_seed(1)
        config = transformers.AlbertConfig(
            vocab_size=common.VOCABULARY, embedding_size=128, hidden_size=options.hidden,
            num_hidden_layers=options.layers, num_attention_heads=options.hidden // 64,
            intermediate_size=4 * options.hidden, hidden_act="gelu", hidden_dropout_prob=0,
            attention_probs_dropout_prob=0, max_position_embeddings=options.positions, attn_implementation="sdpa")
        self.device = options.device
        compute, self.output = (torch.bfloat16, torch.float16) if options.device == "cuda" else (torch.float32,) * 2
        with torch.device(options.device):  # a GPU draws 200 million weights in no time
            self.model = transformers.AlbertModel(config, add_pooling_layer=False).eval().to(compute)

    @torch.inference_mode()
    def embed(self, proteins):
        """(vectors [L, H], mean [H]) of each protein of one padded batch."""
        width = max(map(len, proteins)) + 2
        ids = torch.full((len(proteins), width), common.PAD)
        mask = torch.zeros_like(ids)
        for row, protein in enumerate(proteins):
            ids[row, : len(protein) + 2] = torch.tensor([common.CLS] + protein + [common.SEP])
            mask[row, : len(protein) + 2] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        means = [hidden[row, 1 : len(protein) + 1].float().mean(dim=0) for row, protein in enumerate(proteins)]
        hidden, means = hidden.to(self.output).cpu().numpy(), torch.stack(means).cpu().numpy()
        return [(hidden[row, 1 : len(protein) + 1].copy(), means[row]) for row, protein in enumerate(proteins)]

    def rate(self, batches):
        start = time.perf_counter()
        for batch in batches:
            self.embed(batch)
        return sum(len(protein) for batch in batches for protein in batch) / (time.perf_counter() - start)


def batches_of(proteins, count):
    return [proteins[first : first + count] for first in range(0, len(proteins), count)]


def sorted_batches(proteins, tokens):
    """The longest first, so many at once that they have at most `tokens` with padding."""
    batches = []
    for protein in sorted(proteins, key=len, reverse=True):
        if not batches or (len(batches[-1][0]) + 2) * (len(batches[-1]) + 1) > tokens:
            batches.append([])
        batches[-1].append(protein)
    return batches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the program protalbert_bench")
    parser.add_argument("--fasta", required=True, help="proteins, plain or gzip")
    parser.add_argument("--proteins", type=int, default=24, help="how many, the first that fit")
    parser.add_argument("--longest", type=int, default=510, help="residues; longer proteins are left out")
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--positions", type=int, default=40000)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, alternating")
    parser.add_argument("--threads", type=int, default=common.default_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of both sides")
    parser.add_argument("--batch-tokens", type=int, help="computed together; 512 on a CPU, 32,768 on a GPU")
    parser.add_argument("--least", type=float, help="fail where protalbert is not so many times as fast as each")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    tokens = options.batch_tokens or (32768 if gpu else 512)  # what protalbert takes by itself at full size

    torch.set_num_threads(options.threads)
    proteins = common.read_proteins(options.fasta, options.proteins, options.longest, cut=False)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {options.threads} threads")
    print(f"H = {options.hidden}, {options.layers} iterations; {len(proteins)} proteins, "
          f"{sum(map(len, proteins))} residues", flush=True)

    by_length = sorted_batches(proteins, tokens)
    ways = {"Hugging Face, padded batches of 4": batches_of(proteins, 4),
            "Hugging Face, one by one": batches_of(proteins, 1),
            f"Hugging Face, sorted, {tokens:,} tokens": by_length}
    ours, reports, others = [], [], {name: [] for name in ways}
    huggingface = HuggingFace(options)
    # Every shape once: libraries choose their algorithms at the first call.
    for batch in by_length if gpu else [proteins[:1]]:
        huggingface.embed(batch)
    for round_number in range(options.rounds):
        arguments = ["embed", "--fasta", options.fasta, "--proteins", options.proteins, "--longest", options.longest,
                     "--hidden", options.hidden, "--layers", options.layers, "--positions", options.positions,
                     "--activation", "gelu", "--batch-tokens", tokens]
        if gpu:
            arguments += ["--device", "cuda", "--precision", "bfloat16", "--residues", "float16"]
        reports.append(common.run_bench(options.bench, arguments, options.threads))
        ours.append(reports[-1]["residues_per_second"])
        line = f"round {round_number + 1}: protalbert {ours[-1]:.1f}"
        for name, batches in ways.items():
            others[name].append(huggingface.rate(batches))
            line += f", {name} {others[name][-1]:.1f}"
        print(line, flush=True)
    common.print_table("residues/s", ours, others)
    if not gpu:
        # A protalbert_bench built without oneDNN has none.
        ratios = sorted(report["model_over_product"] for report in reports if "model_over_product" in report)
        print(f"\nmodel FLOP/s over oneDNN's plain product: {ratios[len(ratios) // 2]:.3f}  "
              f"({ratios[0]:.3f} .. {ratios[-1]:.3f})" if ratios else "\nprotalbert_bench was built without oneDNN")
        print(f"peak memory of protalbert: {max(report['peak_bytes'] for report in reports) / 1e9:.2f} GB")
    slow = [name for name, rates in others.items()
            if options.least and statistics.median(ours) < options.least * statistics.median(rates)]
    if slow:
        sys.exit(f"error: protalbert is not {options.least} times as fast as {', '.join(slow)}")


if __name__ == "__main__":
    main()
