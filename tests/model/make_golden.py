#!/usr/bin/env python3
"""Writes golden.h5: small random models with Hugging Face's loss, last hidden state and all gradients.

test_golden.cpp compares ours with it. Needs PyTorch, transformers and h5py (made with torch 2.15, transformers 5.23):

    python3 -m venv venv && venv/bin/pip install torch transformers h5py
    venv/bin/python make_golden.py golden.h5

The reference computes in double precision, without dropout, on padded sequences with an attention mask; the file holds
the same sequences packed. Weights are rounded to float32 first, so that both sides start from the same numbers.
"""
import copy
import json
import sys

import h5py
import numpy
import torch
from transformers import AlbertConfig, AlbertForPreTraining

# Each case reaches something that no other does. Lengths: the sequences of the batch.
CASES = {
    "erf": dict(hidden=48, heads=3, intermediate=96, embedding=20, layers=3, lengths=[9, 17, 2, 12]),
    "tanh": dict(hidden=64, heads=2, intermediate=80, embedding=16, layers=2, activation="gelu_new", lengths=[11, 23]),
    "equal_sizes": dict(hidden=32, heads=2, intermediate=64, embedding=32, layers=2, lengths=[7, 14, 3]),
    "groups": dict(hidden=32, heads=2, intermediate=48, embedding=12, layers=3, groups=2, lengths=[16, 5, 8],
                   activation="gelu_new"),
    "inner": dict(hidden=48, heads=1, intermediate=40, embedding=24, layers=2, groups=2, inner=2, lengths=[6, 13]),
    "odd": dict(hidden=21, heads=3, intermediate=37, embedding=11, layers=4, vocabulary=29, positions=19,
                lengths=[19, 1, 7, 5, 10], activation="gelu_new"),
    # The head's epsilon of old transformers, an encoder's epsilon large enough to matter, a sequence without label.
    "epsilons": dict(hidden=32, heads=4, intermediate=32, embedding=24, layers=2, epsilon=1e-3, head_epsilon=1e-5,
                     lengths=[12, 9, 4], unlabelled=[1]),
}


def write_case(file, name, generator, *, hidden, heads, intermediate, embedding, layers, lengths, groups=1, inner=1,
               vocabulary=34, positions=24, activation="gelu", epsilon=1e-12, head_epsilon=None, unlabelled=()):
    config = AlbertConfig(
        hidden_size=hidden, num_attention_heads=heads, intermediate_size=intermediate, embedding_size=embedding,
        num_hidden_layers=layers, num_hidden_groups=groups, inner_group_num=inner, vocab_size=vocabulary,
        max_position_embeddings=positions, hidden_act=activation, layer_norm_eps=epsilon, hidden_dropout_prob=0,
        attention_probs_dropout_prob=0, classifier_dropout_prob=0, attn_implementation="eager")
    model = AlbertForPreTraining(config).double().eval()
    if head_epsilon is not None:
        model.predictions.LayerNorm.eps = head_epsilon
    # Token 0 is a residue like any other here: a masked token's random replacement may be any id. With padding_idx its
    # lookup would have no gradient.
    model.albert.embeddings.word_embeddings.padding_idx = None

    # Every tensor random, biases and layer norms too, and large enough for every path to matter.
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            norm_weight = "weight" in key and ("LayerNorm" in key or "layer_norm" in key)
            fan_in = parameter.shape[-1] if parameter.dim() == 2 and "embeddings" not in key else 4
            values = 1 + 0.2 * values if norm_weight else values / fan_in**0.5
            # Attention adds less than the residual: otherwise all tokens look alike after a few blocks, and the
            # gradients of queries and keys are differences of equal numbers, of which float32 keeps few digits.
            if "attention.dense" in key:
                values = 0.25 * values
            parameter.copy_(values.float().double())

    longest = max(lengths)
    shape = (len(lengths), longest)
    tokens = torch.randint(0, vocabulary, shape, generator=generator)
    segments = torch.randint(0, 2, shape, generator=generator)
    real = torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]  # [S, longest]
    masked = (torch.rand(shape, generator=generator) < 0.3) & real
    masked[0, 0] = True  # a row that both heads read
    labels = torch.randint(0, vocabulary, shape, generator=generator)
    labels = torch.where(masked, labels, torch.tensor(-100))
    sentence_labels = torch.randint(0, 2, (len(lengths),), generator=generator)
    sentence_labels[list(unlabelled)] = -100

    outputs = model(input_ids=tokens, attention_mask=real.long(), token_type_ids=segments)
    masked_loss = torch.nn.functional.cross_entropy(outputs.prediction_logits.view(-1, vocabulary), labels.view(-1))
    sentence_loss = torch.nn.functional.cross_entropy(outputs.sop_logits, sentence_labels)
    hidden = model.albert(input_ids=tokens, attention_mask=real.long(), token_type_ids=segments).last_hidden_state
    total = model(input_ids=tokens, attention_mask=real.long(), token_type_ids=segments, labels=labels,
                  sentence_order_label=sentence_labels)
    assert abs(total.loss - masked_loss - sentence_loss) < 1e-12
    total.loss.backward()

    # How far the same computation in float32 is off, for the tolerances of test_model_golden.cpp.
    single = copy.deepcopy(model).float()
    single.zero_grad()
    single(input_ids=tokens, attention_mask=real.long(), token_type_ids=segments, labels=labels,
           sentence_order_label=sentence_labels).loss.backward()
    worst = max((((other.grad.double() - parameter.grad).abs().max() / parameter.grad.abs().max()).item(), key)
                for (key, parameter), other in zip(model.named_parameters(), single.parameters())
                if "key.bias" not in key)  # zero but for rounding: softmax does not see it
    print(f"{name}: PyTorch's float32 gradients differ by {worst[0]:.1e} of a tensor's largest element ({worst[1]})")

    group = file.create_group(name)
    settings = config.to_dict()
    settings["head_layer_norm_eps"] = model.predictions.LayerNorm.eps
    group.attrs["config"] = json.dumps({key: settings[key] for key in (
        "hidden_size", "num_attention_heads", "intermediate_size", "embedding_size", "num_hidden_layers",
        "num_hidden_groups", "inner_group_num", "vocab_size", "max_position_embeddings", "hidden_act",
        "layer_norm_eps", "head_layer_norm_eps", "type_vocab_size")})
    group.attrs["loss"] = total.loss.item()
    group.attrs["masked_loss"] = masked_loss.item()
    group.attrs["sentence_loss"] = sentence_loss.item()

    def packed(padded):
        return padded[real]

    group["tokens"] = packed(tokens).numpy().astype(numpy.int32)
    group["segments"] = packed(segments).numpy().astype(numpy.int32)
    group["positions"] = packed(torch.arange(longest).expand(shape)).numpy().astype(numpy.int32)
    group["cu_seqlens"] = numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.int64)
    group["masked_positions"] = packed(masked).nonzero().flatten().numpy().astype(numpy.int64)
    group["masked_labels"] = packed(labels)[packed(masked)].numpy().astype(numpy.int32)
    group["sentence_labels"] = numpy.where(sentence_labels < 0, -1, sentence_labels).astype(numpy.int32)
    group["hidden"] = packed(hidden.detach()).numpy().astype(numpy.float32)
    for key, parameter in model.named_parameters():  # tied ones appear once
        group["parameters/" + key] = parameter.detach().numpy().astype(numpy.float32)
        group["gradients/" + key] = parameter.grad.numpy().astype(numpy.float32)


def main():
    with h5py.File(sys.argv[1], "w", libver="v108") as file:
        for number, (name, case) in enumerate(CASES.items()):
            write_case(file, name, torch.Generator().manual_seed(20240521 + number), **case)


main()
