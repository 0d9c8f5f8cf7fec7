// One row an architecture: what the file's metadata does not say.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "backend/backend.h"
#include "kernels/kernel.h"

namespace llmcore {

struct Architecture {
    std::string_view name;  // general.architecture
    RopeStyle rope_style;
    Activation activation = Activation::silu;
    // A text is read in both directions and becomes vectors, not words: there is no head.
    bool encodes = false;
    NormStyle norm_style = NormStyle::rms;
    // Norms come after the sum of a block and its input, and after the embedding; not before blocks.
    bool norms_sums = false;
    // A vector for each position is added to the embedding.
    bool has_positions = false;
    // The feed-forward network is two matrices, without a gate.
    bool is_gated = true;
    // Norms come after blocks, before the sum of a block and its input; not before blocks.
    bool norms_outputs = false;
    // Every projection has a bias.
    bool has_biases = false;
    // The embedding is multiplied by sqrt(d_model).
    bool scales_embedding = false;
    // The file has factors of the embedding, the blocks' outputs and the logits.
    bool has_scales = false;
    // Where the file has a sliding window: every window_period-th layer sees everything, the others the
    // window; 0: the window is every layer's.
    std::int64_t window_period = 0;
    // RoPE of the layers with a window has this base and no scaling; 0: they turn as the others do.
    double window_rope_base = 0.0;
    // RoPE of the layers with a window has the others' base, unless the file says another, and no scaling.
    bool unscales_windows = false;
    // Of every unturned_period layers the last has no RoPE; 0: all have.
    std::int64_t unturned_period = 0;
    // Where some layers have a window, only they have RoPE.
    bool turns_windows = false;
    // Whether there is RoPE at all is the file's word.
    bool may_be_unturned = false;
    // Parts of the rotary dimensions have positions of their own, which differ within images only.
    bool has_rope_sections = false;
    // Queries are scaled up where a context exceeds the original one.
    bool heats_far_queries = false;
    // The model of this many layers scales its scores by sqrt(d_model / n_heads) instead of sqrt(head_dim).
    std::int64_t wide_scale_layers = 0;
    // The file's feed_forward_length counts the gate's rows and the up matrix's.
    bool counts_gate_and_up = false;
    // Weights of the chosen experts are made to sum to 1.
    bool normalizes_experts = false;
    // Queries and keys are normed over all heads together.
    bool norms_all_heads = false;
    // Tensors that the file must have; where a row does not say so, they are read if they are there.
    bool has_head_norms = false;
    bool has_post_norms = false;
    bool has_sinks = false;
    // The borders of YaRN's ramp are whole dimensions.
    bool rounds_yarn = true;
};

std::span<const Architecture> architectures();

}  // namespace llmcore
