#include "model/architectures.h"

namespace llmcore {

namespace {

constexpr auto adjacent = RopeStyle::adjacent;
constexpr auto halves = RopeStyle::halves;
constexpr auto gelu = Activation::gelu_tanh;
constexpr auto layer = NormStyle::layer;

constexpr Architecture kArchitectures[] = {
    {.name = "llama", .rope_style = adjacent, .normalizes_experts = true},
    {.name = "qwen", .rope_style = halves, .counts_gate_and_up = true},
    {.name = "qwen2", .rope_style = halves},
    {.name = "qwen2moe", .rope_style = halves},
    {.name = "qwen3", .rope_style = halves, .has_head_norms = true},
    {.name = "qwen3moe", .rope_style = halves, .normalizes_experts = true, .has_head_norms = true},
    {.name = "gemma", .rope_style = halves, .activation = gelu, .scales_embedding = true},
    {.name = "gemma2",
     .rope_style = halves,
     .activation = gelu,
     .scales_embedding = true,
     .window_period = 2,
     .wide_scale_layers = 46,
     .has_post_norms = true},
    {.name = "gemma3",
     .rope_style = halves,
     .activation = gelu,
     .scales_embedding = true,
     .window_period = 6,
     .window_rope_base = 10000.0,
     .wide_scale_layers = 62,
     .has_head_norms = true,
     .has_post_norms = true},
    {.name = "phi3", .rope_style = halves},
    {.name = "chatglm", .rope_style = adjacent},
    {.name = "glm4", .rope_style = adjacent, .has_post_norms = true},
    {.name = "gpt-oss",
     .rope_style = halves,
     .activation = Activation::swiglu_clamped,
     .window_period = 2,
     .normalizes_experts = true,
     .has_sinks = true,
     .rounds_yarn = false},
    {.name = "qwen2vl", .rope_style = halves, .has_rope_sections = true},
    {.name = "qwen3vl", .rope_style = halves, .has_rope_sections = true, .has_head_norms = true},
    {.name = "qwen3vlmoe",
     .rope_style = halves,
     .has_rope_sections = true,
     .normalizes_experts = true,
     .has_head_norms = true},
    {.name = "mistral3", .rope_style = adjacent, .heats_far_queries = true},
    {.name = "smollm3", .rope_style = adjacent, .unturned_period = 4},
    {.name = "seed_oss", .rope_style = halves},
    {.name = "ernie4_5", .rope_style = adjacent},
    {.name = "granite", .rope_style = adjacent, .has_scales = true, .may_be_unturned = true},
    {.name = "granitemoe",
     .rope_style = adjacent,
     .has_scales = true,
     .may_be_unturned = true,
     .normalizes_experts = true},
    {.name = "olmo2",
     .rope_style = halves,
     .norms_outputs = true,
     .window_period = 4,
     .unscales_windows = true,
     .norms_all_heads = true,
     .has_head_norms = true},
    {.name = "olmoe", .rope_style = halves, .norms_all_heads = true, .has_head_norms = true},
    {.name = "exaone4",
     .rope_style = halves,
     .norms_outputs = true,
     .window_period = 4,
     .turns_windows = true,
     .has_head_norms = true},
    {.name = "bert",
     .rope_style = RopeStyle::none,
     .activation = Activation::gelu_erf,
     .encodes = true,
     .norm_style = layer,
     .norms_sums = true,
     .has_positions = true,
     .is_gated = false,
     .has_biases = true},
    {.name = "nomic-bert", .rope_style = halves, .encodes = true, .norm_style = layer, .norms_sums = true},
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

}  // namespace llmcore
