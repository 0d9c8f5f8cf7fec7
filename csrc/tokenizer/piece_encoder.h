// Text to token ids for vocabularies of SentencePiece's kind: byte-pair models with scores ("llama"), with a
// list of merges ("gemma4"), and unigram models ("t5").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"
#include "tokenizer/byte_pair.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/piece_output.h"
#include "tokenizer/piece_trie.h"
#include "tokenizer/unigram.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

class PieceEncoder {
public:
    // From tokenizer.ggml.* of the file, whose vocabulary `vocabulary` is. Throws Error(model) where they
    // are missing, contradict each other or are of another kind.
    PieceEncoder(const gguf::File& file, const Vocabulary& vocabulary);

    // Ids of `text` (UTF-8), without BOS or EOS. No text becomes a control token. User-defined tokens are
    // found before anything else; of several at one place the longest. `continues`: another text precedes, so
    // that no space is put in front.
    std::vector<std::int32_t> encode(std::string_view text, bool continues = false) const;

private:
    std::string normalized(std::string_view text, bool adds_space) const;
    void encode_plain(std::string_view text, bool adds_space, PieceOutput& output) const;

    std::optional<BytePairEncoder> byte_pair_;
    std::optional<UnigramEncoder> unigram_;
    UnknownText unknown_;
    Charsmap charsmap_;
    PieceTrie user_defined_;
    bool adds_space_ = false;
    bool removes_extra_spaces_ = false;
};

}  // namespace llmcore
