// Every registered linear and packing kernel, on odd shapes, against a float64 product of the dequantized
// weights.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "base/cpu_features.h"
#include "harness.h"
#include "kernels/activation_layout.h"
#include "kernels/registry.h"
#include "quant/format_table.h"
#include "random_weights.h"

namespace llmcore::test {

namespace {

using Bytes = std::unique_ptr<std::uint8_t, decltype(&std::free)>;

Bytes aligned_bytes(std::int64_t size) {
    const auto rounded = static_cast<std::size_t>(round_up_64(size));
    return {static_cast<std::uint8_t*>(std::aligned_alloc(64, rounded)), &std::free};
}

std::vector<const Kernel*> runnable(Op op) {
    std::vector<const Kernel*> kernels;
    for (const Kernel* kernel : all_kernels())
        if (kernel->op == op && can_run(kernel->isa, isa_ceiling())) kernels.push_back(kernel);
    return kernels;
}

// The linears to sweep over.
std::vector<const Kernel*> swept_linears() {
    std::vector<const Kernel*> kernels = runnable(Op::linear);
    if (quick_sweep())
        std::erase_if(kernels, [](const Kernel* kernel) { return kernel->isa != isa_ceiling(); });
    return kernels;
}

const Kernel* reference_packer(Layout layout) {
    for (const Kernel* kernel : runnable(Op::pack))
        if (kernel->out_layout == layout && kernel->isa == Isa::scalar) return kernel;
    return nullptr;
}

struct Packed {
    Bytes bytes;
    std::int64_t row_bytes;
};

Packed pack(const Kernel& packer, const std::vector<float>& x, std::int64_t m, std::int64_t k) {
    const std::int64_t bytes = packed_row_bytes(packer.out_layout, k);
    Packed packed = {aligned_bytes(packed_bytes(packer.out_layout, m, k)), bytes};
    PackArgs args;
    args.x = x.data();
    args.x_stride = k;
    args.out = packed.bytes.get();
    args.out_row_bytes = bytes;
    args.k = k;
    packer.run(&args, 0, m, nullptr);
    return packed;
}

// The error each activation layout is allowed, relative to float64.
double allowed_error(Layout layout) {
    if (layout == Layout::q8_32) return 6e-3;
    if (layout == Layout::bf16_x32) return 3e-3;
    return 1e-5;
}

std::vector<const Kernel*> packers(Layout layout) {
    std::vector<const Kernel*> kernels = runnable(Op::pack);
    std::erase_if(kernels, [layout](const Kernel* kernel) { return kernel->out_layout != layout; });
    return kernels;
}

std::vector<float> random_activations(std::int64_t count, Random& random) {
    std::vector<float> x(static_cast<std::size_t>(count));
    for (float& value : x) value = random.normal();
    return x;
}

float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

// To nearest, ties to even.
float rounded_to_bf16(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    return from_bf16(static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16));
}

// What the kernel is given, expanded again: packed activations as the floats they stand for.
std::vector<float> unpack(const Packed& packed, Layout layout, std::int64_t m, std::int64_t k) {
    std::vector<float> x(static_cast<std::size_t>(m * k));
    if (layout == Layout::bf16_x32) {
        for (std::int64_t i = 0; i < m * k; ++i) {
            std::uint16_t bits = 0;
            const std::int64_t offset = bf16_x32_offset(i / k, i % k, packed.row_bytes);
            std::memcpy(&bits, packed.bytes.get() + offset, sizeof bits);
            x[static_cast<std::size_t>(i)] = from_bf16(bits);
        }
        return x;
    }
    for (std::int64_t row = 0; row < m; ++row) {
        const std::uint8_t* bytes = packed.bytes.get() + row * packed.row_bytes;
        const auto* q = reinterpret_cast<const std::int8_t*>(bytes);
        const auto* d = reinterpret_cast<const float*>(bytes + q8x32_layout(k).d_offset);
        for (std::int64_t c = 0; c < k; ++c)
            x[static_cast<std::size_t>(row * k + c)] = d[c / 32] * static_cast<float>(q[c]);
    }
    return x;
}

struct Product {
    std::vector<double> values;  // [m][width]
    // The same with absolute values: what rounding errors scale with. Of the activations alone where all
    // weights are zero, because a kernel may have added an offset to them.
    std::vector<double> magnitudes;
};

Product multiply(const std::vector<float>& x, const std::vector<float>& weights, std::int64_t m,
                 std::int64_t begin, std::int64_t end, std::int64_t k) {
    Product product;
    for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = begin; j < end; ++j) {
            double sum = 0.0;
            double magnitude = 0.0;
            double activations = 0.0;
            for (std::int64_t c = 0; c < k; ++c) {
                const double term = static_cast<double>(x[static_cast<std::size_t>(i * k + c)]) *
                                    static_cast<double>(weights[static_cast<std::size_t>(j * k + c)]);
                sum += term;
                magnitude += std::fabs(term);
                activations += std::fabs(static_cast<double>(x[static_cast<std::size_t>(i * k + c)]));
            }
            product.values.push_back(sum);
            product.magnitudes.push_back(magnitude > 0.0 ? magnitude : activations);
        }
    return product;
}

// One kernel on one shape. It must compute the product of what it is given to rounding error, whatever the
// shape; and where there are outputs enough for the figure to mean something, be as close to the unpacked
// activations' product as its layout promises.
void check_linear(const Kernel& kernel, const std::vector<std::uint8_t>& weights, const std::vector<float>& x,
                  std::int64_t m, std::int64_t n, std::int64_t k) {
    const Shape shape = {.m = m, .n = n, .k = k};
    std::vector<float> dequantized(static_cast<std::size_t>(n * k));
    dequantize(kernel.weight_format, weights.data(), dequantized.data(), n * k);

    // A range inside the rows, into an output of just that width.
    const std::int64_t begin = n > 2 ? 1 : 0;
    const std::int64_t end = n > 3 ? n - 1 : n;
    const std::int64_t width = end - begin;

    LinearArgs args;
    args.weight = weights.data();
    args.weight_row_bytes = row_bytes(kernel.weight_format, k);
    Packed packed = {Bytes(nullptr, &std::free), k * 4};
    std::vector<float> given = x;
    if (kernel.act_layout == Layout::f32) {
        args.act = x.data();
    } else {
        packed = pack(*reference_packer(kernel.act_layout), x, m, k);
        given = unpack(packed, kernel.act_layout, m, k);
        args.act = packed.bytes.get();
    }
    args.act_row_bytes = packed.row_bytes;
    std::vector<float> out(static_cast<std::size_t>(m * width), NAN);
    args.out = out.data();
    args.out_stride = width;
    args.out_offset = begin;
    args.m = m;
    args.n = n;
    args.k = k;
    std::vector<std::uint8_t> workspace(kernel.workspace_bytes == nullptr ? 0
                                                                          : kernel.workspace_bytes(&shape));
    kernel.run(&args, begin, end, workspace.data());

    // Kernels of bf16 round the weights to it, too.
    std::vector<float> multiplied = dequantized;
    if (kernel.act_layout == Layout::bf16_x32)
        std::transform(dequantized.begin(), dequantized.end(), multiplied.begin(), rounded_to_bf16);
    const Product exact = multiply(given, multiplied, m, begin, end, k);
    double worst = 0.0;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const double error = std::fabs(static_cast<double>(out[i]) - exact.values[i]) / exact.magnitudes[i];
        worst = error <= worst ? worst : error;  // so that a NaN stays
    }
    CHECK_MSG(worst <= 2e-6,
              kernel.name << " m " << m << " n " << n << " k " << k << ": rounding error " << worst);
    if (m >= 64) {
        const Product wanted = multiply(x, dequantized, m, begin, end, k);
        const double error = relative_error(out.data(), wanted.values.data(), out.size());
        CHECK_MSG(error <= allowed_error(kernel.act_layout),
                  kernel.name << " m " << m << " n " << n << " k " << k << ": error " << error);
    }
}

void check_linear(const Kernel& kernel, std::int64_t m, std::int64_t n, std::int64_t k, Random& random) {
    const Shape shape = {.m = m, .n = n, .k = k};
    if (!kernel.supports(&shape)) return;
    const auto weights = random_weights(kernel.weight_format, n, k, random);
    check_linear(kernel, weights, random_activations(m * k, random), m, n, k);
}

}  // namespace

LLMCORE_TEST(every_format_has_a_reference_kernel) {
    for (const Format format : weight_formats()) {
        bool found = false;
        for (const Kernel* kernel : all_kernels())
            found |=
                kernel->op == Op::linear && kernel->weight_format == format && kernel->isa == Isa::scalar;
        CHECK_MSG(found, format_info(format).name);
    }
}

LLMCORE_TEST(linear_kernels_match_float64) {
    Random random(1);
    for (const Kernel* kernel : swept_linears()) {
        const std::int64_t block = format_info(kernel->weight_format).block_elements;
        std::vector<std::int64_t> columns = {block, 2 * block, 3 * block, 5 * block, 16 * block};
        if (block == 32) columns = {32, 64, 96, 160, 416, 1024};
        if (block == 1) columns = {1, 7, 16, 33, 64, 100, 515};
        if (quick_sweep()) {  // blocks to spare, rows to spare, tokens to spare
            for (const std::int64_t k : columns)
                for (const std::int64_t m : {1, 3, 4, 7, 9}) check_linear(*kernel, m, 11, k, random);
            if (kernel->workspace_bytes != nullptr) check_linear(*kernel, 10, 6, 4608, random);
            continue;
        }
        for (const std::int64_t k : columns)
            for (const std::int64_t n : {1, 2, 7, 37})
                for (const std::int64_t m : {1, 2, 3, 4, 5, 8, 17}) check_linear(*kernel, m, n, k, random);
        if (block == 32)
            check_linear(*kernel, 7, 3, 13696, random);  // the inner size of a ChatGLM: 53.5 * 256
        check_linear(*kernel, 64, 35, 2048, random);
        // Several panels of rows, and more columns than one holds.
        if (kernel->workspace_bytes != nullptr) check_linear(*kernel, 27, 45, 4608, random);
        if (kernel->act_layout != Layout::bf16_x32) continue;
        // More rows and tokens than are kept at a time.
        check_linear(*kernel, 70, 70, 6 * 256, random);
        check_linear(*kernel, 3, 1100, 256, random);
        check_linear(*kernel, 577, 5, 256, random);
    }
}

// All indices, signs and scales of a block at an extreme at once, and activations that are all 127 or -127:
// the largest sums that integers have to hold.
LLMCORE_TEST(linear_kernels_hold_extreme_values) {
    Random random(3);
    const std::int64_t n = 12;  // eight rows side by side, and some left over
    for (const Kernel* kernel : swept_linears()) {
        const Format format = kernel->weight_format;
        const std::int64_t k = 3 * format_info(format).block_elements;
        if (k == 3) continue;
        std::vector<std::vector<std::uint8_t>> weights = {random_weights(format, n, k, random)};
        for (const int byte : {0x00, 0xFF, 0x7F, 0x80, 0x55, 0xAA})
            weights.push_back(filled_weights(format, n, k, static_cast<std::uint8_t>(byte), random));
        std::vector<std::int64_t> tokens = {1, 9};
        if (!quick_sweep()) tokens.push_back(25);
        for (const auto& rows : weights)
            for (const std::int64_t m : tokens) {
                const auto count = static_cast<std::size_t>(m * k);
                check_linear(*kernel, rows, random_activations(m * k, random), m, n, k);
                check_linear(*kernel, rows, std::vector<float>(count, 1.0F), m, n, k);
                check_linear(*kernel, rows, std::vector<float>(count, -1.0F), m, n, k);
            }
    }
}

// One block an exponent, against activations that make the product an ordinary number.
LLMCORE_TEST(mxfp4_kernels_know_every_exponent) {
    for (const Kernel* kernel : runnable(Op::linear)) {
        if (kernel->weight_format != Format::MXFP4) continue;
        const bool is_bf16 = kernel->act_layout == Layout::bf16_x32;      // subnormal weights are zero there
        for (int e = is_bf16 ? 1 : 0; e <= 250; ++e) {                    // more would overflow on the way
            std::vector<std::uint8_t> weights(sizeof(BlockMXFP4), 0x22);  // all 1
            weights[0] = static_cast<std::uint8_t>(e);
            const int exponent = e < 128 ? 100 : -100;
            const std::vector<float> x(32, std::ldexp(1.0F, exponent));
            Packed packed = {Bytes(nullptr, &std::free), 32 * 4};
            const bool packs = kernel->act_layout != Layout::f32;
            if (packs) packed = pack(*reference_packer(kernel->act_layout), x, 1, 32);
            float out = NAN;
            LinearArgs args;
            args.weight = weights.data();
            args.weight_row_bytes = sizeof(BlockMXFP4);
            args.act = packs ? static_cast<const void*>(packed.bytes.get()) : x.data();
            args.act_row_bytes = packed.row_bytes;
            args.out = &out;
            args.out_stride = 1;
            args.out_offset = 0;
            args.m = 1;
            args.n = 1;
            args.k = 32;
            const Shape shape = {.m = 1, .n = 1, .k = 32};
            const bool has_workspace = kernel->workspace_bytes != nullptr;
            std::vector<std::uint8_t> workspace(has_workspace ? kernel->workspace_bytes(&shape) : 0);
            kernel->run(&args, 0, 1, workspace.data());
            const double expected = std::ldexp(2.0 * 32.0, e - 128 + exponent);
            CHECK_MSG(std::fabs(static_cast<double>(out) - expected) <= 1e-5 * expected,
                      kernel->name << " exponent " << e << ": " << out << ", expected " << expected);
        }
    }
}

LLMCORE_TEST(packing_kernels_keep_the_activations) {
    Random random(2);
    for (const Kernel* kernel : packers(Layout::q8_32))
        for (const std::int64_t k : {32, 96, 1024}) {
            const std::int64_t m = 5;
            std::vector<float> x = random_activations(m * k, random);
            for (std::int64_t c = 0; c < 32; ++c) x[static_cast<std::size_t>(2 * k + c)] = 0.0F;
            const Packed packed = pack(*kernel, x, m, k);
            const Q8x32Layout layout = q8x32_layout(k);
            bool sums_agree = true;
            for (std::int64_t row = 0; row < m; ++row) {
                const std::uint8_t* bytes = packed.bytes.get() + row * packed.row_bytes;
                const auto* q = reinterpret_cast<const std::int8_t*>(bytes);
                const auto* d = reinterpret_cast<const float*>(bytes + layout.d_offset);
                const auto* dsum = reinterpret_cast<const float*>(bytes + layout.dsum_offset);
                const auto* sums = reinterpret_cast<const std::int16_t*>(bytes + layout.sums_offset);
                for (std::int64_t b = 0; b < k / 32; ++b) {
                    int halves[2] = {0, 0};
                    for (std::int64_t c = 0; c < 32; ++c) halves[c / 16] += q[32 * b + c];
                    sums_agree &= sums[2 * b] == halves[0] && sums[2 * b + 1] == halves[1];
                    const float expected = d[b] * static_cast<float>(halves[0] + halves[1]);
                    sums_agree &= std::fabs(dsum[b] - expected) <= 1e-5F * (1.0F + std::fabs(expected));
                }
            }
            const std::vector<float> restored = unpack(packed, Layout::q8_32, m, k);
            const std::vector<double> expected(x.begin(), x.end());
            const double error = relative_error(restored.data(), expected.data(), restored.size());
            CHECK_MSG(error <= 6e-3, kernel->name << " k " << k << ": error " << error);
            CHECK_MSG(sums_agree, kernel->name << " k " << k);
        }
}

// Whole rows at once, or cut where a thread's share may end, in groups that other threads write to.
LLMCORE_TEST(packing_kernels_of_bf16_round_to_nearest) {
    Random random(7);
    const std::int64_t m = 37;
    for (const std::int64_t k : {1, 31, 32, 45, 2048}) {
        std::vector<float> x = random_activations(m * k, random);
        x[0] = INFINITY;
        x[static_cast<std::size_t>(k)] = std::bit_cast<float>(0x3F808000U);      // halfway: to the even 1
        x[static_cast<std::size_t>(2 * k)] = std::bit_cast<float>(0x3F818000U);  // halfway: up
        x[static_cast<std::size_t>(3 * k)] = NAN;
        x[static_cast<std::size_t>(4 * k)] = 1e-39F;
        for (const Kernel* kernel : packers(Layout::bf16_x32))
            for (const std::int64_t cut : {0, 7, 32}) {
                const std::int64_t row_bytes = packed_row_bytes(Layout::bf16_x32, k);
                Packed packed = {aligned_bytes(packed_bytes(Layout::bf16_x32, m, k)), row_bytes};
                PackArgs args;
                args.x = x.data();
                args.x_stride = k;
                args.out = packed.bytes.get();
                args.out_row_bytes = row_bytes;
                args.k = k;
                kernel->run(&args, cut, m, nullptr);
                kernel->run(&args, 0, cut, nullptr);
                const std::vector<float> restored = unpack(packed, Layout::bf16_x32, m, (k + 31) / 32 * 32);
                bool right = true;
                for (std::int64_t row = 0; row < m; ++row)
                    for (std::int64_t c = 0; c < (k + 31) / 32 * 32; ++c) {
                        const float got = restored[static_cast<std::size_t>(row * ((k + 31) / 32 * 32) + c)];
                        if (c >= k) {
                            right &= got == 0.0F;
                            continue;
                        }
                        const float value = x[static_cast<std::size_t>(row * k + c)];
                        if (std::isnan(value))
                            right &= std::isnan(got);
                        else
                            right &= got == (std::fabs(value) < 1e-38F ? 0.0F : rounded_to_bf16(value));
                    }
                CHECK_MSG(right, kernel->name << " k " << k << " cut at " << cut);
            }
    }
}

// Rounding with the scale max|x| / 127 alone has this squared error; the choice among scales must lower it.
LLMCORE_TEST(packing_kernels_choose_good_scales) {
    Random random(6);
    const std::int64_t k = 32 * 512;
    const std::vector<float> x = random_activations(k, random);
    double plain = 0.0;
    for (std::int64_t b = 0; b < k / 32; ++b) {
        float largest = 0.0F;
        for (std::int64_t c = 32 * b; c < 32 * (b + 1); ++c)
            largest = std::max(largest, std::fabs(x[static_cast<std::size_t>(c)]));
        for (std::int64_t c = 32 * b; c < 32 * (b + 1); ++c) {
            const double steps = x[static_cast<std::size_t>(c)] / largest * 127.0;
            plain += std::pow((steps - std::nearbyint(steps)) * largest / 127.0, 2.0);
        }
    }
    for (const Kernel* kernel : packers(Layout::q8_32)) {
        const std::vector<float> restored = unpack(pack(*kernel, x, 1, k), Layout::q8_32, 1, k);
        double squared = 0.0;
        for (std::size_t i = 0; i < x.size(); ++i)
            squared += std::pow(static_cast<double>(restored[i]) - static_cast<double>(x[i]), 2.0);
        CHECK_MSG(squared <= 0.85 * plain, kernel->name << ": " << squared / plain);
    }
}

}  // namespace llmcore::test
