#pragma once
// What a person means by the path of a model: a file, a folder, or a model of Hugging Face's hub that was downloaded
// before. Nothing is ever downloaded here.

#include <string>

namespace protalbert {

/// The checkpoint's file, the folder of checkpoints or the Hugging Face folder that `path` stands for: itself; of the
/// hub's cache folder of a model (models--ORG--NAME), the snapshot that its refs/main names, or its only one; of a hub
/// id (ORG/NAME) that no file or folder here is called, that of the local cache ($HF_HUB_CACHE, $HF_HOME/hub or
/// ~/.cache/huggingface/hub). Says so where it is not `path` itself. By one rank. Throws InputError for a file or
/// folder that belongs to a model and is none, with what to give or do instead; what is nothing at all is left to
/// whoever opens it.
std::string locate_model(const std::string& path);

}  // namespace protalbert
