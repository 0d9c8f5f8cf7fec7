#include "quant/block_expand.h"
#include "quant/block_expand_grid.h"
#include "quant/dequantize.h"

namespace llmcore {
namespace {

template <typename Expander>
void expand_all(const void* blocks, float* out, std::int64_t n_blocks) {
    const auto* block = static_cast<const typename Expander::Block*>(blocks);
    for (std::int64_t i = 0; i < n_blocks; ++i) Expander::expand(block[i], out + i * Expander::kElements);
}

}  // namespace

void dequantize_blocks(Format format, const void* blocks, float* out, std::int64_t n_blocks) {
    switch (format) {
        case Format::F32:
            return expand_all<ExpandF32>(blocks, out, n_blocks);
        case Format::F16:
            return expand_all<ExpandF16>(blocks, out, n_blocks);
        case Format::BF16:
            return expand_all<ExpandBF16>(blocks, out, n_blocks);
        case Format::Q4_0:
            return expand_all<ExpandQ4_0>(blocks, out, n_blocks);
        case Format::Q4_1:
            return expand_all<ExpandQ4_1>(blocks, out, n_blocks);
        case Format::Q5_0:
            return expand_all<ExpandQ5_0>(blocks, out, n_blocks);
        case Format::Q5_1:
            return expand_all<ExpandQ5_1>(blocks, out, n_blocks);
        case Format::Q8_0:
            return expand_all<ExpandQ8_0>(blocks, out, n_blocks);
        case Format::Q2_K:
            return expand_all<ExpandQ2_K>(blocks, out, n_blocks);
        case Format::Q3_K:
            return expand_all<ExpandQ3_K>(blocks, out, n_blocks);
        case Format::Q4_K:
            return expand_all<ExpandQ4_K>(blocks, out, n_blocks);
        case Format::Q5_K:
            return expand_all<ExpandQ5_K>(blocks, out, n_blocks);
        case Format::Q6_K:
            return expand_all<ExpandQ6_K>(blocks, out, n_blocks);
        case Format::IQ4_NL:
            return expand_all<ExpandIQ4_NL>(blocks, out, n_blocks);
        case Format::IQ4_XS:
            return expand_all<ExpandIQ4_XS>(blocks, out, n_blocks);
        case Format::IQ1_S:
            return expand_all<ExpandIQ1_S>(blocks, out, n_blocks);
        case Format::IQ1_M:
            return expand_all<ExpandIQ1_M>(blocks, out, n_blocks);
        case Format::IQ2_XXS:
            return expand_all<ExpandIQ2_XXS>(blocks, out, n_blocks);
        case Format::IQ2_XS:
            return expand_all<ExpandIQ2_XS>(blocks, out, n_blocks);
        case Format::IQ2_S:
            return expand_all<ExpandIQ2_S>(blocks, out, n_blocks);
        case Format::IQ3_XXS:
            return expand_all<ExpandIQ3_XXS>(blocks, out, n_blocks);
        case Format::IQ3_S:
            return expand_all<ExpandIQ3_S>(blocks, out, n_blocks);
        case Format::TQ1_0:
            return expand_all<ExpandTQ1_0>(blocks, out, n_blocks);
        case Format::TQ2_0:
            return expand_all<ExpandTQ2_0>(blocks, out, n_blocks);
        case Format::MXFP4:
            return expand_all<ExpandMXFP4>(blocks, out, n_blocks);
        default:
            return;
    }
}

}  // namespace llmcore
