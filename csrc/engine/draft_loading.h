// Loads a model together with the small one that guesses for it.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/decoder_runner.h"

namespace llmcore {

struct DraftedModel {
    LoadedModel model;                   // with the draft's memory in its figures
    std::unique_ptr<ModelRunner> draft;  // null where none was asked for
};

// As load_model; draft: the file of the small model, empty for none. Both run on one pool of threads, and
// their caches share one budget so that they hold equally many tokens. Throws Error(model) also where the
// files have different vocabularies, before anything large is read.
DraftedModel load_drafted_model(LoadOptions options, const std::filesystem::path& draft);

}  // namespace llmcore
