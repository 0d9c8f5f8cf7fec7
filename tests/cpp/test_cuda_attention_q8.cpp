// The attention kernels of the CUDA backend over a cache of Q8_0 against float64, and what is stored there
// against the CPU's cache. Whatever no token has written has the scale NaN.
#include "cuda_attention_runs.h"
#include "kernels/cpu/cached_rows_scalar.h"

namespace llmcore::cuda {

// Of the head sizes that have tensor cores' kernels, and of others.
LLMCORE_TEST(cuda_attention_decode_q8_0) {
    Random random(6);
    const int groups[] = {1, 2, 4, 7, 9};
    for (int head_dim : {64, 96, 128, 256, 32, 160}) {
        for (int trial = 0; trial < 4; ++trial) {
            Options options = random_options(random);
            options.format = Format::Q8_0;
            options.head_dim = head_dim;
            options.group = groups[random.below(5)];
            options.n_kv_heads = 1 + static_cast<int>(random.below(2));
            options.n_splits = 1 << random.below(4);
            options.with_rows = random.below(2) == 0;
            run_decode(random, options,
                       {{static_cast<int>(random.below(trial == 0 ? 20 : 300)), 2},
                        {static_cast<int>(random.below(100)), 1},
                        {0, 1}},
                       1e-5);
        }
    }
}

// Weights times scales beyond the middle of F16's range, at both ends.
LLMCORE_TEST(cuda_attention_q8_0_of_any_scale) {
    Random random(7);
    for (float scale : {2e-6F, 400.0F}) {
        Options options;
        options.format = Format::Q8_0;
        options.head_dim = 128;
        Step step(random, options, {{100, 1}});
        for (int position = 0; position < 101; ++position) {
            for (int d = 0; d < options.head_dim; d += 32) {
                const uint16_t half = round_to_half(scale);
                const std::size_t at = step.element(0, position, 0, true) + static_cast<std::size_t>(d);
                std::memcpy(&step.cache8[step.q8_places(at).scale], &half, sizeof half);
            }
        }
        const AttentionStepArgs args = step.args();
        attention_decode(Stream{}, args);
        step.read();
        step.check({true}, scale < 1 ? 1e-3 : 1e-5, "any scale");
    }
}

LLMCORE_TEST(cuda_attention_prefill_q8_0) {
    Random random(8);
    for (int head_dim : {64, 96, 128, 256, 32}) {
        for (int trial = 0; trial < 3; ++trial) {
            Options options = random_options(random);
            options.format = Format::Q8_0;
            options.head_dim = head_dim;
            options.group = 1 + static_cast<int>(random.below(2));
            options.n_kv_heads = 3 - options.group;
            run_prefill(random, options,
                        {{static_cast<int>(random.below(150)), 1 + static_cast<int>(random.below(70))},
                         {0, 1 + static_cast<int>(random.below(90))}},
                        3e-3);
        }
    }
}

// Codes and scales are those of the CPU's cache, whatever the numbers are, and nothing beside them changes.
LLMCORE_TEST(cuda_rope_store_q8_0_as_the_cpu) {
    Random random(9);
    for (int head_dim : {32, 64, 96, 160, 256}) {
        Options options;
        options.format = Format::Q8_0;
        options.head_dim = head_dim;
        options.n_kv_heads = 3;
        Step step(random, options, {{37, 2}}, false);
        const auto dims = static_cast<std::size_t>(head_dim);
        std::vector<float> rows(2 * 3 * dims);
        for (float& x : rows) x = random.normal();
        const float odd[] = {0.0F, 1e-7F, 3e-5F, 1e9F, HUGE_VALF, -HUGE_VALF, kNaN, -0.0F};
        for (std::size_t i = 0; i < rows.size() / 32; ++i) {
            if (i % 4 == 1) std::fill_n(rows.begin() + static_cast<std::ptrdiff_t>(32 * i), 32, 0.0F);
            if (i % 2 == 1) rows[32 * i + random.below(32)] = odd[random.below(8)];
        }
        DeviceArray<float> device_rows(rows);
        const AttentionStepArgs on_device = step.args();
        RopeStoreArgs args = {};
        args.kv = on_device.kv;
        args.q = step.device_q->data();
        args.k = args.v = device_rows.data();
        args.q_stride = step.stride;
        args.k_stride = args.v_stride = 3 * head_dim;
        args.step = on_device.step;
        args.n_heads = step.n_heads;
        args.style = RopeStyle::none;
        rope_store(Stream{}, args);
        step.read();
        std::vector<unsigned char> expected(step.cache8.size(), 0xFF);
        std::vector<char> stored(dims / 32 * sizeof(BlockQ8_0));
        bool scales_agree = true;
        for (std::size_t row = 0; row < 2; ++row) {
            for (std::size_t head = 0; head < 3; ++head) {
                Q8Rows::write(rows.data() + (row * 3 + head) * dims, stored.data(), head_dim);
                for (bool is_value : {false, true}) {
                    const std::size_t at =
                        step.element(0, step.positions[row], static_cast<int>(head), is_value);
                    for (std::size_t d = 0; d < dims; ++d) {
                        const auto& block = reinterpret_cast<const BlockQ8_0*>(stored.data())[d / 32];
                        const auto [code, scale] = step.q8_places(at + d);
                        const float want = expand_half(block.d), got = expand_half(step.half_at(scale));
                        scales_agree = scales_agree && (std::isnan(want) ? std::isnan(got) : want == got);
                        // A block that is not a number may have any codes.
                        expected[code] = std::isnan(want) ? step.cache8[code]
                                                          : static_cast<unsigned char>(block.qs[d % 32]);
                        std::memcpy(&expected[scale], &step.cache8[scale], sizeof(uint16_t));
                    }
                }
            }
        }
        CHECK_MSG(scales_agree, "head_dim " << head_dim);
        CHECK_MSG(step.cache8 == expected, "head_dim " << head_dim);
    }
}

// Every code of a token has a place of its own.
LLMCORE_TEST(cuda_q8_0_layout) {
    for (int head_dim = 32; head_dim <= 256; head_dim += 32) {
        std::vector<bool> taken(static_cast<std::size_t>(head_dim), false);
        for (int dim = 0; dim < head_dim; ++dim) {
            const int at = q8_code_at(head_dim, dim);
            CHECK(at >= 0 && at < head_dim);
            taken[static_cast<std::size_t>(at)] = true;
        }
        CHECK(std::find(taken.begin(), taken.end(), false) == taken.end());
        CHECK(q8_bytes(kKvBlockTokens * head_dim) % 16 == 0);
    }
}

}  // namespace llmcore::cuda
