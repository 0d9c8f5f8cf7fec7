// A random step over a paged cache, for the tests of the CUDA backend's attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/kv_q8.h"
#include "cuda/kernels/rope_store.h"
#include "device_array.h"
#include "harness.h"
#include "quant/half.h"

namespace llmcore::cuda {
namespace {

using test::DeviceArray;
using test::Random;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

inline const char* format_name(Format format) {
    return format == Format::F16 ? "f16" : format == Format::Q8_0 ? "q8_0" : "f32";
}

struct Sequence {
    int n_cached;  // before the step
    int n_rows;
};

struct Options {
    int head_dim = 64;
    int n_kv_heads = 1;
    int group = 1;
    Format format = Format::F16;
    float softcap = 0;
    int window = 0;
    bool with_sinks = false;
    bool causal = true;
    int n_splits = 1;
    bool with_rows = false;  // decode: only every second row, in reverse
};

// A step over a paged cache whose blocks lie in random order. The arrays here are the host's: args() copies
// them to the device, read() brings back what kernels write.
struct Step {
    Options options;
    int n_heads, stride, n_rows = 0, n_blocks = 0;
    std::vector<int32_t> positions, row_sequences, kv_lens, table;
    std::vector<float> q, out, sinks;
    std::vector<uint16_t> cache16;
    std::vector<float> cache32;
    std::vector<unsigned char> cache8;  // Q8_0
    int block_table_stride = 0;
    std::unique_ptr<DeviceArray<int32_t>> device_positions, device_row_sequences, device_kv_lens,
        device_table;
    std::unique_ptr<DeviceArray<float>> device_q, device_out, device_sinks, device_cache32;
    std::unique_ptr<DeviceArray<uint16_t>> device_cache16;
    std::unique_ptr<DeviceArray<unsigned char>> device_cache8;

    std::size_t element(int sequence, int position, int kv_head, bool is_value) const {
        const auto block = static_cast<std::size_t>(
            table[static_cast<std::size_t>(sequence * block_table_stride + position / kKvBlockTokens)]);
        const auto heads = static_cast<std::size_t>(options.n_kv_heads);
        return ((block * 2 + (is_value ? 1 : 0)) * heads + static_cast<std::size_t>(kv_head)) *
                   kKvBlockTokens * static_cast<std::size_t>(options.head_dim) +
               static_cast<std::size_t>(position % kKvBlockTokens * options.head_dim);
    }
    double cached(std::size_t at) const {
        if (options.format == Format::Q8_0) {
            const auto [code, scale] = q8_places(at);
            return expand_half(half_at(scale)) * static_cast<signed char>(cache8[code]);
        }
        return options.format == Format::F16 ? expand_half(cache16[at]) : cache32[at];
    }

    // Bytes of an element's code and scale in cache8.
    struct Places {
        std::size_t code, scale;
    };
    Places q8_places(std::size_t at) const {
        const auto dims = static_cast<std::size_t>(options.head_dim);
        const std::size_t head = at / (kKvBlockTokens * dims) * (kKvBlockTokens * dims / 32 * 34);
        const std::size_t token = at / dims % kKvBlockTokens;
        const auto code = static_cast<std::size_t>(q8_code_at(options.head_dim, static_cast<int>(at % dims)));
        return {head + token * dims + code,
                head + kKvBlockTokens * dims + 2 * (token * dims / 32 + at % dims / 32)};
    }
    uint16_t half_at(std::size_t byte) const {
        uint16_t half = 0;
        std::memcpy(&half, &cache8[byte], sizeof half);
        return half;
    }
    void fill_element(Random& random, std::size_t at) {
        if (options.format == Format::Q8_0) {
            const auto [code, scale] = q8_places(at);
            if (at % 32 == 0) {  // of blocks that differ a lot
                const uint16_t half = round_to_half(0.01F * std::exp(0.5F * random.normal()));
                std::memcpy(&cache8[scale], &half, sizeof half);
            }
            cache8[code] = static_cast<unsigned char>(random.below(255) - 127);
        } else if (options.format == Format::F16) {
            cache16[at] = round_to_half(random.normal());
        } else {
            cache32[at] = random.normal();
        }
    }

    // Without fill_cache only the blocks exist that the step itself writes to.
    Step(Random& random, const Options& given, const std::vector<Sequence>& sequences, bool fill_cache = true)
        : options(given), n_heads(given.n_kv_heads * given.group), stride(n_heads * given.head_dim + 8) {
        int longest = 0;
        for (std::size_t s = 0; s < sequences.size(); ++s) {
            for (int i = 0; i < sequences[s].n_rows; ++i) {
                positions.push_back(sequences[s].n_cached + i);
                row_sequences.push_back(static_cast<int32_t>(s));
            }
            kv_lens.push_back(sequences[s].n_cached + sequences[s].n_rows);
            longest = std::max(longest, kv_lens.back());
        }
        n_rows = static_cast<int>(positions.size());
        block_table_stride = (longest + kKvBlockTokens - 1) / kKvBlockTokens;
        table.assign(sequences.size() * static_cast<std::size_t>(block_table_stride), -1000000);
        std::vector<int32_t> free_blocks;
        const auto first_block = [&](std::size_t s) {
            return fill_cache ? 0 : sequences[s].n_cached / kKvBlockTokens;
        };
        for (std::size_t s = 0; s < sequences.size(); ++s)
            n_blocks += (kv_lens[s] + kKvBlockTokens - 1) / kKvBlockTokens - first_block(s);
        for (int i = 0; i < n_blocks; ++i) free_blocks.push_back(i);
        for (std::size_t s = 0; s < sequences.size(); ++s) {
            for (int i = first_block(s); i * kKvBlockTokens < kv_lens[s]; ++i) {
                const auto taken = static_cast<std::ptrdiff_t>(random.below(free_blocks.size()));
                table[s * static_cast<std::size_t>(block_table_stride) + static_cast<std::size_t>(i)] =
                    free_blocks[static_cast<std::size_t>(taken)];
                free_blocks.erase(free_blocks.begin() + taken);
            }
        }
        const auto elements =
            static_cast<std::size_t>(n_blocks * 2 * options.n_kv_heads * kKvBlockTokens * options.head_dim);
        if (options.format == Format::F16)
            cache16.assign(elements, round_to_half(kNaN));
        else if (options.format == Format::Q8_0)
            cache8.assign(elements / 32 * 34, 0xFF);  // scales are NaN
        else
            cache32.assign(elements, kNaN);
        for (std::size_t s = 0; fill_cache && s < sequences.size(); ++s) {
            for (int position = 0; position < kv_lens[s]; ++position) {
                for (int i = 0; i < 2 * options.n_kv_heads; ++i) {
                    const std::size_t at = element(static_cast<int>(s), position, i / 2, i % 2 != 0);
                    for (std::size_t d = 0; d < static_cast<std::size_t>(options.head_dim); ++d)
                        fill_element(random, at + d);
                }
            }
        }
        q.assign(static_cast<std::size_t>(n_rows * stride), kNaN);
        out.assign(q.size(), kNaN);
        for (int row = 0; row < n_rows; ++row) {
            for (int i = 0; i < stride - 8; ++i)
                q[static_cast<std::size_t>(row * stride + i)] = 2 * random.normal();
        }
        for (int head = 0; options.with_sinks && head < n_heads; ++head) sinks.push_back(3 * random.normal());
    }

    AttentionStepArgs args() {
        device_positions = std::make_unique<DeviceArray<int32_t>>(positions);
        device_row_sequences = std::make_unique<DeviceArray<int32_t>>(row_sequences);
        device_kv_lens = std::make_unique<DeviceArray<int32_t>>(kv_lens);
        device_table = std::make_unique<DeviceArray<int32_t>>(table);
        device_q = std::make_unique<DeviceArray<float>>(q);
        device_out = std::make_unique<DeviceArray<float>>(out.size());
        device_sinks = std::make_unique<DeviceArray<float>>(sinks);
        device_cache16 = std::make_unique<DeviceArray<uint16_t>>(cache16);
        device_cache32 = std::make_unique<DeviceArray<float>>(cache32);
        device_cache8 = std::make_unique<DeviceArray<unsigned char>>(cache8);
        AttentionStepArgs args = {};
        args.q = device_q->data();
        args.out = device_out->data();
        args.q_stride = args.out_stride = stride;
        args.step.positions = device_positions->data();
        args.step.row_sequences = device_row_sequences->data();
        args.step.kv_lens = device_kv_lens->data();
        args.step.block_table = device_table->data();
        args.step.block_table_stride = block_table_stride;
        args.step.n_rows = n_rows;
        args.step.n_sequences = static_cast<int32_t>(kv_lens.size());
        args.kv.base = options.format == Format::F16    ? static_cast<void*>(device_cache16->data())
                       : options.format == Format::Q8_0 ? static_cast<void*>(device_cache8->data())
                                                        : device_cache32->data();
        args.kv.format = options.format;
        args.kv.n_kv_heads = options.n_kv_heads;
        args.kv.head_dim = options.head_dim;
        args.n_rows = n_rows;
        args.n_heads = n_heads;
        args.n_splits = options.n_splits;
        args.multiprocessors = options.n_splits % 2 == 0 ? 1 : 1 << 20;  // CTAs of few warps and of many
        args.scale = 1 / std::sqrt(static_cast<float>(options.head_dim));
        args.softcap = options.softcap;
        args.window = options.window;
        args.sinks = options.with_sinks ? device_sinks->data() : nullptr;
        args.causal = options.causal;
        return args;
    }

    void poison_out() { device_out->fill(0xFF); }

    void read() {
        q = device_q->read();
        out = device_out->read();
        cache16 = device_cache16->read();
        cache32 = device_cache32->read();
        cache8 = device_cache8->read();
    }

    std::vector<double> expected(int row, int head) const {
        const int sequence = row_sequences[static_cast<std::size_t>(row)];
        const int end = options.causal ? positions[static_cast<std::size_t>(row)] + 1
                                       : kv_lens[static_cast<std::size_t>(sequence)];
        const int begin = options.window > 0 ? std::max(0, end - options.window) : 0;
        const auto dims = static_cast<std::size_t>(options.head_dim);
        const float* query = q.data() + row * stride + head * options.head_dim;
        std::vector<double> scores, sum(dims, 0.0);
        double top = options.with_sinks ? sinks[static_cast<std::size_t>(head)] : -HUGE_VAL;
        for (int position = begin; position < end; ++position) {
            const std::size_t key = element(sequence, position, head / options.group, false);
            double score = 0;
            for (std::size_t d = 0; d < dims; ++d) score += query[d] * cached(key + d);
            score /= std::sqrt(static_cast<double>(dims));
            if (options.softcap > 0) score = options.softcap * std::tanh(score / options.softcap);
            scores.push_back(score);
            top = std::max(top, score);
        }
        double denominator = options.with_sinks ? std::exp(sinks[static_cast<std::size_t>(head)] - top) : 0;
        for (std::size_t i = 0; i < scores.size(); ++i) {
            const double weight = std::exp(scores[i] - top);
            const std::size_t value =
                element(sequence, begin + static_cast<int>(i), head / options.group, true);
            denominator += weight;
            for (std::size_t d = 0; d < dims; ++d) sum[d] += weight * cached(value + d);
        }
        for (double& x : sum) x = denominator > 0 ? x / denominator : 0;
        return sum;
    }

    // Rows not in `done` must be untouched, as the columns after the heads.
    void check(const std::vector<bool>& done, double limit, const char* what) const {
        double worst = 0;
        bool is_untouched = true;
        for (int row = 0; row < n_rows; ++row) {
            const float* given = out.data() + row * stride;
            const int touched = done[static_cast<std::size_t>(row)] ? stride - 8 : 0;
            for (int i = touched; i < stride; ++i) is_untouched = is_untouched && std::isnan(given[i]);
            for (int head = 0; head < n_heads && touched > 0; ++head) {
                const std::vector<double> want = expected(row, head);
                const double error =
                    test::relative_error(given + head * options.head_dim, want.data(), want.size());
                worst = std::isnan(error) ? HUGE_VAL : std::max(worst, error);
            }
        }
        CHECK_MSG(worst < limit, what << ' ' << format_name(options.format) << ": error " << worst
                                      << " head_dim " << options.head_dim << " group " << options.group
                                      << " splits " << options.n_splits << " window " << options.window
                                      << " softcap " << options.softcap << " sinks " << options.with_sinks
                                      << " causal " << options.causal);
        CHECK_MSG(is_untouched, what << " wrote what is not its own");
    }
};

}  // namespace
}  // namespace llmcore::cuda
