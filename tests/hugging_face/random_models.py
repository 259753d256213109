"""Random ALBERT models of many shapes, and folders of them in every form in which Hugging Face's have been stored."""

import json
import os

import torch
from safetensors.torch import save_file
from transformers import AlbertConfig, AlbertForPreTraining

# Sizes of CASES' keys that are left out.
DEFAULTS = dict(hidden=32, heads=2, intermediate=24, embedding=12, layers=3, groups=1, inner=1, activation="gelu",
                vocabulary=34, positions=24)


def make_model(generator, **case):
    """In double precision and evaluation mode. Every tensor is random, biases and layer norms too, and large enough for
    every path to matter."""
    case = dict(DEFAULTS, **case)
    config = AlbertConfig(
        hidden_size=case["hidden"], num_attention_heads=case["heads"], intermediate_size=case["intermediate"],
        embedding_size=case["embedding"], num_hidden_layers=case["layers"], num_hidden_groups=case["groups"],
        inner_group_num=case["inner"], vocab_size=case["vocabulary"], max_position_embeddings=case["positions"],
        hidden_act=case["activation"], hidden_dropout_prob=0, attention_probs_dropout_prob=0,
        attn_implementation="eager")
    model = AlbertForPreTraining(config).double().eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            norm_weight = "weight" in key and ("LayerNorm" in key or "layer_norm" in key)
            fan_in = parameter.shape[-1] if parameter.dim() == 2 and "embeddings" not in key else 4
            parameter.copy_(1 + 0.2 * values if norm_weight else values / fan_in**0.5)
    return model


def round_weights(model, dtype):
    """To numbers that `dtype` holds exactly."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype).double())


def random_tokens(generator, lengths, vocabulary):
    return [torch.randint(0, vocabulary, (length,), generator=generator) for length in lengths]


@torch.inference_mode()
def last_hidden_states(model, sequences):
    """[sum of lengths, H] in double precision, each sequence alone."""
    return torch.cat([model.albert(input_ids=tokens[None]).last_hidden_state[0] for tokens in sequences])


# Forms of weights: a function each of (state dict, folder), of tensors that are already of the type to be stored.


def tied(state):
    """Without what is stored under two names."""
    return {key: tensor.contiguous() for key, tensor in state.items() if not key.startswith("predictions.decoder.")}


def save_safetensors(state, folder):
    save_file(tied(state), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


def save_shards(state, folder):
    state = tied(state)
    names = sorted(state)
    parts = [names[: len(names) // 3], names[len(names) // 3 :]]
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file({key: state[key] for key in part}, os.path.join(folder, file), metadata={"format": "pt"})
        weight_map.update({key: file for key in part})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as index:
        json.dump({"metadata": {"total_size": 0}, "weight_map": weight_map}, index)


def save_zip(state, folder):
    torch.save(state, os.path.join(folder, "pytorch_model.bin"))


def save_legacy(state, folder):
    """As the script that converted TensorFlow's weights left them: dense kernels are transposed views, the buffer of
    positions is there, and the state dict has its versions of modules."""
    state = dict(state)
    for key, tensor in list(state.items()):
        if tensor.dim() == 2 and "embeddings." not in key and "decoder" not in key:
            state[key] = tensor.t().contiguous().t()
    state["albert.embeddings.position_ids"] = torch.arange(8)[None]
    from collections import OrderedDict

    ordered = OrderedDict(state)
    ordered._metadata = OrderedDict([("", {"version": 1})])
    torch.save(ordered, os.path.join(folder, "pytorch_model.bin"), _use_new_zipfile_serialization=False)


def save_bare_zip(state, folder):
    """As AlbertModel without pooler stores itself: no prefix, no heads; and something of somebody else's."""
    bare = {key.removeprefix("albert."): tensor for key, tensor in state.items()
            if key.startswith("albert.") and "pooler" not in key}
    bare["classifier.weight"] = torch.zeros(2, 3)
    torch.save(bare, os.path.join(folder, "pytorch_model.bin"))


def save_folder(model, folder, dtype, save):
    """config.json and weights; the weights have been rounded to `dtype`."""
    os.makedirs(folder, exist_ok=True)
    settings = model.config.to_dict()
    keys = ("hidden_size", "num_attention_heads", "intermediate_size", "embedding_size", "num_hidden_layers",
            "num_hidden_groups", "inner_group_num", "vocab_size", "max_position_embeddings", "hidden_act",
            "type_vocab_size")
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump({key: settings[key] for key in keys}, file, indent=2)
        file.write("\n")
    # Tied tensors stay one: the same object for the same memory.
    seen = {}
    state = {}
    for key, tensor in model.state_dict().items():
        state[key] = seen.setdefault(tensor.data_ptr(), tensor.to(dtype))
    save(state, folder)
