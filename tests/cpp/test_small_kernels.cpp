// Every registered kernel of the small operations against its formula in float64: norms, rope, glu, and
// sampling's.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/cpu_features.h"
#include "harness.h"
#include "kernels/registry.h"

namespace llmcore::test {

namespace {

std::vector<const Kernel*> runnable(Op op) {
    std::vector<const Kernel*> kernels;
    for (const Kernel* kernel : all_kernels())
        if (kernel->op == op && can_run(kernel->isa, isa_ceiling())) kernels.push_back(kernel);
    return kernels;
}

std::vector<float> random_floats(std::int64_t count, Random& random) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = random.normal();
    return values;
}

std::vector<std::uint8_t> workspace_for(const Kernel& kernel, const Shape& shape) {
    return std::vector<std::uint8_t>(kernel.workspace_bytes == nullptr ? 0 : kernel.workspace_bytes(&shape));
}

double activate(Activation activation, double x) {
    switch (activation) {
        case Activation::silu:
            return x / (1.0 + std::exp(-x));
        case Activation::gelu_tanh:
            return 0.5 * x * (1.0 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
        case Activation::gelu_erf:
            return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
        case Activation::relu:
            return x > 0.0 ? x : 0.0;
        case Activation::tanh:
            return std::tanh(x);
        case Activation::swiglu_clamped:
            return std::min(x, 7.0) / (1.0 + std::exp(-1.702 * std::min(x, 7.0)));
        case Activation::none:
            break;
    }
    return x;
}

double linear_part(Activation activation, double up) {
    return activation == Activation::swiglu_clamped ? std::clamp(up, -7.0, 7.0) + 1.0 : up;
}

}  // namespace

LLMCORE_TEST(norm_kernels_match_float64) {
    Random random(3);
    for (const Kernel* kernel : runnable(Op::norm))
        for (const std::int64_t n : {1, 8, 31, 64, 100, 1027}) {
            const Shape shape = {.m = 3, .n = n};
            if (!kernel->supports(&shape)) continue;
            std::vector<float> x = random_floats(3 * n, random);
            for (std::int64_t i = 0; i < n; ++i) x[static_cast<std::size_t>(n + i)] = 0.0F;  // a row of zeros
            const std::vector<float> weight = random_floats(n, random);
            const std::vector<float> residual = random_floats(3 * n, random);
            const bool adds = n % 2 == 1;
            std::vector<double> expected;
            for (std::int64_t row = 0; row < 3; ++row) {
                double squares = 0.0;
                for (std::int64_t i = 0; i < n; ++i)
                    squares += std::pow(x[static_cast<std::size_t>(row * n + i)], 2.0);
                const double scale = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
                for (std::int64_t i = 0; i < n; ++i)
                    expected.push_back(x[static_cast<std::size_t>(row * n + i)] * scale *
                                           weight[static_cast<std::size_t>(i)] +
                                       (adds ? residual[static_cast<std::size_t>(row * n + i)] : 0.0F));
            }
            std::vector<float> out(x.size(), NAN);
            NormArgs args;
            args.x = x.data();
            args.x_stride = n;
            args.weight = weight.data();
            args.residual = adds ? residual.data() : nullptr;
            args.out = out.data();
            args.out_stride = n;
            args.n = n;
            args.eps = 1e-5F;
            std::vector<std::uint8_t> workspace = workspace_for(*kernel, shape);
            kernel->run(&args, 0, 3, workspace.data());
            const double error = relative_error(out.data(), expected.data(), out.size());
            CHECK_MSG(error < 1e-6, kernel->name << " n " << n << ": error " << error);
        }
}

LLMCORE_TEST(layer_norm_kernels_match_float64) {
    Random random(6);
    for (const Kernel* kernel : runnable(Op::layer_norm))
        for (const std::int64_t n : {1, 8, 31, 64, 100, 1027}) {
            const Shape shape = {.m = 3, .n = n};
            if (!kernel->supports(&shape)) continue;
            std::vector<float> x = random_floats(3 * n, random);
            for (std::int64_t i = 0; i < n; ++i) x[static_cast<std::size_t>(n + i)] = 2.5F;  // no spread
            const std::vector<float> weight = random_floats(n, random);
            const std::vector<float> bias = random_floats(n, random);
            const bool adds = n % 2 == 0;
            std::vector<double> expected;
            for (std::int64_t row = 0; row < 3; ++row) {
                const float* values = x.data() + row * n;
                double mean = 0.0;
                for (std::int64_t i = 0; i < n; ++i) mean += values[i];
                mean /= static_cast<double>(n);
                double squares = 0.0;
                for (std::int64_t i = 0; i < n; ++i) squares += std::pow(values[i] - mean, 2.0);
                const double scale = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
                for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
                    expected.push_back((values[i] - mean) * scale * weight[i] + (adds ? bias[i] : 0.0F));
            }
            // In place, rows further apart than they are long.
            const std::int64_t stride = n + 3;
            std::vector<float> rows(static_cast<std::size_t>(3 * stride), NAN);
            for (std::int64_t row = 0; row < 3; ++row)
                std::copy_n(x.data() + row * n, n, rows.data() + row * stride);
            LayerNormArgs args;
            args.x = args.out = rows.data();
            args.x_stride = args.out_stride = stride;
            args.weight = weight.data();
            args.bias = adds ? bias.data() : nullptr;
            args.n = n;
            args.eps = 1e-5F;
            std::vector<std::uint8_t> workspace = workspace_for(*kernel, shape);
            kernel->run(&args, 0, 3, workspace.data());
            std::vector<float> out;
            for (std::int64_t row = 0; row < 3; ++row) {
                out.insert(out.end(), rows.data() + row * stride, rows.data() + row * stride + n);
                CHECK(std::isnan(rows[static_cast<std::size_t>(row * stride + n)]));
            }
            double worst = 0.0;
            for (std::size_t i = 0; i < out.size(); ++i)
                worst = std::max(worst, std::abs(static_cast<double>(out[i]) - expected[i]));
            CHECK_MSG(worst < 1e-5, kernel->name << " n " << n << ": error " << worst);
        }
}

LLMCORE_TEST(glu_kernels_match_float64) {
    Random random(4);
    for (const Kernel* kernel : runnable(Op::glu))
        for (const Activation activation :
             {Activation::none, Activation::silu, Activation::gelu_tanh, Activation::gelu_erf,
              Activation::relu, Activation::tanh, Activation::swiglu_clamped})
            for (const std::int64_t n : {1, 7, 16, 50, 129})
                for (const bool gated : {true, false}) {
                    std::vector<float> gate = random_floats(2 * n, random);
                    gate[0] = -100.0F;  // where a careless exp overflows
                    gate[static_cast<std::size_t>(n)] = 100.0F;
                    std::vector<float> up = random_floats(2 * n, random);
                    up[0] = -9.0F;  // outside what some activations clamp to
                    std::vector<double> expected;
                    for (std::size_t i = 0; i < gate.size(); ++i)
                        expected.push_back(activate(activation, gate[i]) *
                                           (gated ? linear_part(activation, up[i]) : 1.0));
                    std::vector<float> out(gate.size(), NAN);
                    GluArgs args;
                    args.gate = gate.data();
                    args.gate_stride = n;
                    args.up = gated ? up.data() : nullptr;
                    args.up_stride = n;
                    args.out = out.data();
                    args.out_stride = n;
                    args.n = n;
                    args.activation = activation;
                    const Shape shape = {.m = 2, .n = n};
                    if (!kernel->supports(&shape)) continue;
                    std::vector<std::uint8_t> workspace = workspace_for(*kernel, shape);
                    kernel->run(&args, 0, 2, workspace.data());
                    const double error = relative_error(out.data(), expected.data(), out.size());
                    CHECK_MSG(error < 3e-6, kernel->name << " activation " << static_cast<int>(activation)
                                                         << " n " << n << ": error " << error);
                }
}

LLMCORE_TEST(rope_kernels_match_float64) {
    Random random(5);
    for (const Kernel* kernel : runnable(Op::rope))
        for (const RopeStyle style : {RopeStyle::adjacent, RopeStyle::halves})
            for (const auto& [head_dim, rope_dims] :
                 {std::pair{64, 64}, {80, 80}, {128, 64}, {8, 8}, {6, 2}}) {
                const std::int64_t n_heads = 3;
                const std::int64_t rows = 4;
                const std::int64_t width = n_heads * head_dim;
                const Shape shape = {.m = rows, .head_dim = head_dim, .n_heads = n_heads};
                if (!kernel->supports(&shape)) continue;
                std::vector<float> x = random_floats(rows * width, random);
                const std::vector<std::int32_t> positions = {0, 1, 77, 4000};
                std::vector<float> inv_freq;
                for (int i = 0; i < rope_dims / 2; ++i)
                    inv_freq.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / rope_dims)));
                std::vector<double> expected(x.begin(), x.end());
                for (std::int64_t row = 0; row < rows; ++row)
                    for (std::int64_t head = 0; head < n_heads; ++head)
                        for (int i = 0; i < rope_dims / 2; ++i) {
                            const double angle =
                                static_cast<double>(positions[static_cast<std::size_t>(row)]) *
                                static_cast<double>(inv_freq[static_cast<std::size_t>(i)]);
                            const auto start = static_cast<std::size_t>(row * width + head * head_dim);
                            const auto pair = static_cast<std::size_t>(i);
                            const bool halves = style == RopeStyle::halves;
                            const std::size_t a = start + (halves ? pair : 2 * pair);
                            const std::size_t b =
                                halves ? a + static_cast<std::size_t>(rope_dims / 2) : a + 1;
                            const double u = x[a];
                            const double v = x[b];
                            expected[a] = 1.5 * (u * std::cos(angle) - v * std::sin(angle));
                            expected[b] = 1.5 * (u * std::sin(angle) + v * std::cos(angle));
                        }
                RopeArgs args;
                args.x = x.data();
                args.x_stride = width;
                args.positions = positions.data();
                args.inv_freq = inv_freq.data();
                args.magnitude = 1.5F;
                args.n_heads = n_heads;
                args.head_dim = head_dim;
                args.rope_dims = rope_dims;
                args.style = style;
                std::vector<std::uint8_t> workspace = workspace_for(*kernel, shape);
                kernel->run(&args, 0, rows, workspace.data());
                const double error = relative_error(x.data(), expected.data(), x.size());
                CHECK_MSG(error < 1e-6, kernel->name << " head_dim " << head_dim << " style "
                                                     << static_cast<int>(style) << ": error " << error);
            }
}

LLMCORE_TEST(row_max_kernels_find_maxima_and_what_is_no_number) {
    Random random(6);
    for (const Kernel* kernel : runnable(Op::row_max)) {
        for (const std::int64_t n : {1, 7, 8, 63, 64, 65, 80, 1000}) {
            std::vector<float> x = random_floats(n, random);
            for (float& value : x) value -= 10.0F;
            const std::int64_t blocks = (n + kRowBlock - 1) / kRowBlock;
            std::vector<float> out(static_cast<std::size_t>(blocks));
            RowBlocksArgs args{};
            args.x = x.data();
            args.n = n;
            args.out = out.data();
            const auto run = [&] { kernel->run(&args, 0, blocks, nullptr); };
            const auto begin_of = [&](std::int64_t b) { return x.begin() + b * kRowBlock; };
            run();
            for (std::int64_t b = 0; b < blocks; ++b) {
                const auto end = b + 1 < blocks ? begin_of(b + 1) : x.end();
                CHECK(out[static_cast<std::size_t>(b)] == *std::max_element(begin_of(b), end));
            }
            for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
                float& changed = x[static_cast<std::size_t>(at)];
                const float before = changed;
                for (const float bad : {NAN, HUGE_VALF}) {
                    changed = bad;
                    run();
                    for (std::int64_t b = 0; b < blocks; ++b)
                        CHECK(std::isnan(out[static_cast<std::size_t>(b)]) == (b == at / kRowBlock));
                }
                changed = before;
            }
            std::fill(x.begin(), x.end(), -HUGE_VALF);
            run();
            for (const float largest : out) CHECK(largest == -HUGE_VALF);
        }
    }
}

LLMCORE_TEST(exp_sum_kernels_match_float64) {
    Random random(7);
    for (const Kernel* kernel : runnable(Op::exp_sum))
        for (const std::int64_t n : {1, 7, 8, 63, 64, 65, 80, 1000})
            for (const float scale : {1.0F, 0.25F, 40.0F})
                for (const float least : {-HUGE_VALF, -1.0F, 0.5F, 100.0F}) {
                    std::vector<float> x = random_floats(n, random);
                    x[static_cast<std::size_t>(n / 3)] = -HUGE_VALF;
                    const float max = std::max(1.0F, *std::max_element(x.begin(), x.end()));
                    const std::int64_t blocks = (n + kRowBlock - 1) / kRowBlock;
                    std::vector<double> expected(static_cast<std::size_t>(blocks));
                    std::vector<float> maxima(expected.size(), -HUGE_VALF);
                    for (std::size_t i = 0; i < x.size(); ++i) {
                        const std::size_t b = i / static_cast<std::size_t>(kRowBlock);
                        maxima[b] = std::max(maxima[b], x[i]);
                        if (x[i] >= least) expected[b] += std::exp((double{x[i]} - max) * scale);
                    }
                    for (const float* block_max :
                         {static_cast<const float*>(nullptr), static_cast<const float*>(&maxima[0])}) {
                        std::vector<float> out(expected.size(), NAN);
                        RowBlocksArgs args{};
                        args.x = x.data();
                        args.n = n;
                        args.out = out.data();
                        args.max = max;
                        args.scale = scale;
                        args.least = least;
                        args.block_max = block_max;
                        kernel->run(&args, 0, blocks, nullptr);
                        for (std::size_t b = 0; b < out.size(); ++b) {
                            CHECK_MSG(
                                std::abs(out[b] - expected[b]) <= 1e-5 * expected[b] + 1e-30,
                                kernel->name << " n " << n << ": " << out[b] << ", not " << expected[b]);
                        }
                    }
                }
}

}  // namespace llmcore::test
