"""Residues/s of embedding at ProtAlbert's full size: protalbert_bench embed beside transformers' AlbertModel.

Both sides have random weights in float32, the exact GELU, the same proteins and the same number of threads, and deliver
every residue's vector and each protein's mean on the host. Hugging Face's side runs padded batches of four in the
file's order, as the published notebooks do, and proteins one by one.
"""

import argparse
import time

import numpy
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
            attention_probs_dropout_prob=0, max_position_embeddings=options.positions)
        self.model = transformers.AlbertModel(config, add_pooling_layer=False).eval()

    @torch.inference_mode()
    def embed(self, proteins):
        """(vectors [L, H], mean [H]) of each protein of one padded batch."""
        width = max(map(len, proteins)) + 2
        ids = torch.full((len(proteins), width), common.PAD)
        mask = torch.zeros_like(ids)
        for row, protein in enumerate(proteins):
            ids[row, : len(protein) + 2] = torch.tensor([common.CLS] + protein + [common.SEP])
            mask[row, : len(protein) + 2] = 1
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
        vectors = [hidden[row, 1 : len(protein) + 1].copy() for row, protein in enumerate(proteins)]
        return [(vector, vector.mean(axis=0, dtype=numpy.float32)) for vector in vectors]

    def rate(self, proteins, batch_size):
        start = time.perf_counter()
        for first in range(0, len(proteins), batch_size):
            self.embed(proteins[first : first + batch_size])
        return sum(map(len, proteins)) / (time.perf_counter() - start)


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
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    proteins = common.read_proteins(options.fasta, options.proteins, options.longest, cut=False)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {options.threads} threads")
    print(f"H = {options.hidden}, {options.layers} iterations; {len(proteins)} proteins, "
          f"{sum(map(len, proteins))} residues", flush=True)

    ways = {"Hugging Face, padded batches of 4": 4, "Hugging Face, one by one": 1}
    ours, reports, others = [], [], {name: [] for name in ways}
    huggingface = HuggingFace(options)
    huggingface.embed(proteins[:1])
    for round_number in range(options.rounds):
        arguments = ["embed", "--fasta", options.fasta, "--proteins", options.proteins, "--longest", options.longest,
                     "--hidden", options.hidden, "--layers", options.layers, "--positions", options.positions,
                     "--activation", "gelu"]
        reports.append(common.run_bench(options.bench, arguments, options.threads))
        ours.append(reports[-1]["residues_per_second"])
        line = f"round {round_number + 1}: protalbert {ours[-1]:.1f}"
        for name, batch_size in ways.items():
            others[name].append(huggingface.rate(proteins, batch_size))
            line += f", {name} {others[name][-1]:.1f}"
        print(line, flush=True)
    common.print_table("residues/s", ours, others)
    ratios = sorted(report["model_over_product"] for report in reports)
    print(f"\nmodel FLOP/s over oneDNN's plain product: {ratios[len(ratios) // 2]:.3f}  "
          f"({ratios[0]:.3f} .. {ratios[-1]:.3f})")
    print(f"peak memory of protalbert: {max(report['peak_bytes'] for report in reports) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
