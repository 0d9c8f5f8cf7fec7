// The attention kernels of the CUDA backend against float64. Whatever no token has written is NaN: the
// cache's free places, outputs, paddings. Runs through the emulation, and compiled by nvcc on a device.
#include "cuda_attention_runs.h"

namespace llmcore::cuda {

LLMCORE_TEST(cuda_attention_decode) {
    Random random(1);
    const int head_dims[] = {8, 16, 64, 80, 96, 128, 192, 256};
    const int groups[] = {1, 2, 4, 7, 8, 9, 16};
    for (int head_dim : head_dims) {
        for (int trial = 0; trial < 4; ++trial) {
            Options options = random_options(random);
            options.head_dim = head_dim;
            options.group = groups[random.below(7)];
            options.n_kv_heads = 1 + static_cast<int>(random.below(2));
            options.n_splits = 1 << random.below(4);
            options.with_rows = random.below(2) == 0;
            const int longest = trial == 0 ? 20 : 300;
            run_decode(random, options,
                       {{static_cast<int>(random.below(static_cast<uint64_t>(longest))), 1},
                        {static_cast<int>(random.below(static_cast<uint64_t>(longest))), 2},
                        {0, 1}},
                       1e-5);
        }
    }
}

LLMCORE_TEST(cuda_attention_decode_plain) {
    Random random(2);
    const int groups[] = {1, 2, 7, 9};
    for (int head_dim : {2, 6, 20, 24, 64, 100, 128, 256}) {
        for (Format format : {Format::F32, Format::F16}) {
            Options options = random_options(random);
            options.format = format;
            options.head_dim = head_dim;
            options.group = groups[random.below(4)];
            options.n_kv_heads = 1 + static_cast<int>(random.below(2));
            options.n_splits = 1 + static_cast<int>(random.below(5));
            run_decode(random, options,
                       {{static_cast<int>(random.below(200)), 1}, {static_cast<int>(random.below(40)), 2}},
                       1e-5);
        }
    }
}

LLMCORE_TEST(cuda_attention_prefill) {
    Random random(3);
    for (int head_dim : {64, 80, 96, 128, 256, 16}) {
        for (int trial = 0; trial < 3; ++trial) {
            Options options = random_options(random);
            options.head_dim = head_dim;
            options.group = 1 + static_cast<int>(random.below(2));
            options.n_kv_heads = 3 - options.group;
            run_prefill(random, options,
                        {{static_cast<int>(random.below(150)), 1 + static_cast<int>(random.below(70))},
                         {0, 1 + static_cast<int>(random.below(90))}},
                        3e-3);
        }
    }
    Options options;
    options.format = Format::F32;
    run_prefill(random, options, {{10, 5}, {0, 3}}, 1e-5);
}

// Rows that fill a graph's batch have position -1: zeros, and no read of what is not there.
LLMCORE_TEST(cuda_attention_nothing_seen) {
    Random random(4);
    const std::pair<Format, int> caches[] = {{Format::F16, 20},  {Format::F16, 64},  {Format::F16, 256},
                                             {Format::Q8_0, 32}, {Format::Q8_0, 64}, {Format::Q8_0, 256}};
    for (const auto& [format, head_dim] : caches) {
        for (bool with_sinks : {false, true}) {
            Options options;
            options.format = format;
            options.head_dim = head_dim;
            options.with_sinks = with_sinks;
            Step step(random, options, {{5, 2}});
            step.positions = {-1, -1};
            step.table.assign(step.table.size(), 1 << 30);
            DeviceArray<int4> tile(std::vector<int4>{{0, 0, 2, 0}});
            AttentionStepArgs args = step.args();
            for (bool is_prefill : {false, true}) {
                step.poison_out();
                args.tiles = is_prefill ? tile.data() : nullptr;
                args.n_tiles = is_prefill ? 1 : 0;
                is_prefill ? attention_prefill(Stream{}, args) : attention_decode(Stream{}, args);
                step.read();
                bool is_zero = true;
                for (int i = 0; i < 2 * head_dim; ++i) {
                    is_zero =
                        is_zero &&
                        step.out[static_cast<std::size_t>(i / head_dim * step.stride + i % head_dim)] == 0;
                }
                CHECK_MSG(is_zero, format_name(format)
                                       << " head_dim " << head_dim << " prefill " << is_prefill);
            }
        }
    }
}

LLMCORE_TEST(cuda_attention_splits) {
    CHECK(attention_splits(1, 8, 100, 132) == 1);
    CHECK(attention_splits(1, 8, 300, 132) == 2);
    CHECK(attention_splits(1, 8, 100000, 132) == 32);
    CHECK(attention_splits(1, 1, 100000, 132) == kMaximumSplits);
    CHECK(attention_splits(64, 8, 100000, 132) == 1);
}

LLMCORE_TEST(cuda_rope_store) {
    Random random(5);
    for (int head_dim : {2, 16, 64, 80, 128, 160, 256}) {
        for (RopeStyle style : {RopeStyle::none, RopeStyle::adjacent, RopeStyle::halves}) {
            for (Format format : {Format::F16, Format::F32, Format::Q8_0}) {
                if (format == Format::Q8_0 && head_dim % 32 != 0) continue;
                Options options;
                options.head_dim = head_dim;
                options.format = format;
                options.n_kv_heads = 2;
                options.group = 3;
                const int far = head_dim == 128 ? 100000 : 40;
                Step step(random, options, {{far, 2}, {0, 3}}, false);
                step.positions[4] = -1;
                const auto dims = static_cast<std::size_t>(head_dim);
                const int rope_dims = random.below(2) == 0 ? head_dim : head_dim / 4 * 2;
                const int kv_stride = 2 * head_dim;
                std::vector<float> k(5 * 2 * dims), v(5 * 2 * dims), inv_freq(dims / 2), norm(2 * dims);
                for (float& x : k) x = random.normal();
                for (float& x : v) x = random.normal();
                for (float& x : norm) x = random.normal();
                for (std::size_t i = 0; i < inv_freq.size(); ++i) {
                    inv_freq[i] =
                        std::pow(10000.0F, -2.0F * static_cast<float>(i) / static_cast<float>(rope_dims));
                }
                const bool with_norm = random.below(2) == 0;
                const std::vector<float> q = step.q;
                RopeStoreArgs args = {};
                const AttentionStepArgs on_device = step.args();
                DeviceArray<float> device_k(k), device_v(v), device_inv_freq(inv_freq), device_norm(norm);
                args.kv = on_device.kv;
                args.q = step.device_q->data();
                args.k = device_k.data();
                args.v = device_v.data();
                args.q_stride = step.stride;
                args.k_stride = args.v_stride = kv_stride;
                args.step = on_device.step;
                args.n_heads = step.n_heads;
                args.style = style;
                args.rope_dims = rope_dims;
                args.inv_freq = device_inv_freq.data();
                args.magnitude = 1.25F;
                args.q_norm = with_norm ? device_norm.data() : nullptr;
                args.k_norm = with_norm ? device_norm.data() + dims : nullptr;
                args.norm_eps = 1e-2F;
                rope_store(Stream{}, args);
                step.read();
                const float* q_norm = with_norm ? norm.data() : nullptr;
                const float* k_norm = with_norm ? norm.data() + dims : nullptr;

                const auto rotated = [&](const float* x, const float* weight, int position) {
                    std::vector<double> y(x, x + dims);
                    double squares = 0;
                    for (double a : y) squares += a * a;
                    for (std::size_t i = 0; weight != nullptr && i < dims; ++i) {
                        y[i] *= weight[i] / std::sqrt(squares / head_dim + args.norm_eps);
                    }
                    const auto half = static_cast<std::size_t>(style == RopeStyle::none ? 0 : rope_dims / 2);
                    for (std::size_t i = 0; i < half; ++i) {
                        double& a = y[style == RopeStyle::adjacent ? 2 * i : i];
                        double& b = y[style == RopeStyle::adjacent ? 2 * i + 1 : i + half];
                        const double angle = static_cast<double>(position) * inv_freq[i];
                        const double c = std::cos(angle) * 1.25, s = std::sin(angle) * 1.25, was = a;
                        a = was * c - b * s;
                        b = was * s + b * c;
                    }
                    return y;
                };
                const auto cached = [&](int row, int head, bool is_value) {
                    const auto r = static_cast<std::size_t>(row);
                    const std::size_t at =
                        step.element(step.row_sequences[r], step.positions[r], head, is_value);
                    std::vector<float> x;
                    for (std::size_t i = 0; i < dims; ++i)
                        x.push_back(static_cast<float>(step.cached(at + i)));
                    return x;
                };
                double worst = 0, worst_stored = 0;
                for (int row = 0; row < 4; ++row) {
                    const int position = step.positions[static_cast<std::size_t>(row)];
                    for (int head = 0; head < step.n_heads; ++head) {
                        const auto at = row * step.stride + head * head_dim;
                        const auto want = rotated(q.data() + at, q_norm, position);
                        const double error = test::relative_error(step.q.data() + at, want.data(), dims);
                        worst = std::isnan(error) ? HUGE_VAL : std::max(worst, error);
                    }
                    for (int head = 0; head < 2; ++head) {
                        const auto at = row * kv_stride + head * head_dim;
                        const auto key = rotated(k.data() + at, k_norm, position);
                        const std::vector<double> value(v.data() + at, v.data() + at + dims);
                        for (bool is_value : {false, true}) {
                            const double error =
                                test::relative_error(cached(row, head, is_value).data(),
                                                     is_value ? value.data() : key.data(), dims);
                            worst_stored = std::isnan(error) ? HUGE_VAL : std::max(worst_stored, error);
                        }
                    }
                }
                CHECK_MSG(worst < 1e-6, "error " << worst << " head_dim " << head_dim);
                const double limit = format == Format::F16 ? 1e-3 : format == Format::F32 ? 1e-6 : 1e-2;
                CHECK_MSG(worst_stored < limit, format_name(format)
                                                    << " error " << worst_stored << " head_dim " << head_dim);
                CHECK(std::memcmp(q.data() + 4 * step.stride, step.q.data() + 4 * step.stride,
                                  sizeof(float) * static_cast<std::size_t>(step.stride)) == 0);
            }
        }
    }
}

}  // namespace llmcore::cuda
