// Products for few rows of activations, every packing, against a float64 product of the dequantized weights.
// Runs through the emulation, and compiled by nvcc on a device.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "cuda/device.h"
#include "cuda/kernels/gemv.h"
#include "cuda/packed/repack.h"
#include "device_array.h"
#include "harness.h"
#include "quant/format_table.h"
#include "random_weights.h"

namespace llmcore::test {

namespace {

using namespace llmcore::cuda;

std::vector<float> normal_values(std::int64_t count, Random& random) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = random.normal();
    return values;
}

struct Matrix {
    Matrix(Format format, std::int64_t rows, std::int64_t cols, Random& random) : n(rows), k(cols) {
        const std::vector<std::uint8_t> blocks = random_weights(format, n, k, random);
        values.resize(static_cast<std::size_t>(n * k));
        for (std::int64_t row = 0; row < n; ++row)
            dequantize(format, blocks.data() + row * row_bytes(format, k), values.data() + row * k, k);
        packed.resize(static_cast<std::size_t>(packed_bytes(packing_of(format), n, k)));
        repack_host(format, blocks.data(), n, k, packed.data());
    }

    std::int64_t n, k;
    std::vector<float> values;
    std::vector<std::uint8_t> packed;
};

double product(const Matrix& matrix, const std::vector<float>& x, std::int64_t row, std::int64_t column) {
    double sum = 0.0;
    for (std::int64_t c = 0; c < matrix.k; ++c)
        sum += static_cast<double>(x[static_cast<std::size_t>(row * matrix.k + c)]) *
               static_cast<double>(matrix.values[static_cast<std::size_t>(column * matrix.k + c)]);
    return sum;
}

std::vector<float> normalized(const std::vector<float>& x, const std::vector<float>& weight, std::int64_t m,
                              float eps) {
    const auto k = static_cast<std::int64_t>(weight.size());
    std::vector<float> out(x.size());
    for (std::int64_t row = 0; row < m; ++row) {
        double squares = 0.0;
        for (std::int64_t c = 0; c < k; ++c)
            squares += std::pow(x[static_cast<std::size_t>(row * k + c)], 2.0);
        const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(k) + static_cast<double>(eps));
        for (std::int64_t c = 0; c < k; ++c) {
            const auto i = static_cast<std::size_t>(row * k + c);
            out[i] = static_cast<float>(static_cast<double>(x[i]) * inverse *
                                        static_cast<double>(weight[static_cast<std::size_t>(c)]));
        }
    }
    return out;
}

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

bool takes_floats(Packing packing) {
    return packing == Packing::f16 || packing == Packing::bf16 || packing == Packing::f32;
}

// The float rows that int8 rows in pack_q8_rows()'s form stand for.
std::vector<float> expanded(const std::vector<std::uint8_t>& packed, std::int64_t m, std::int64_t k) {
    const std::int64_t padded = tiles_of(k, kTileCols) * kTileCols;
    std::vector<float> x;
    for (std::int64_t row = 0; row < m; ++row) {
        const std::uint8_t* from = packed.data() + row * q8_row_bytes(k);
        for (std::int64_t c = 0; c < k; ++c) {
            float scale = 0.0F;
            std::memcpy(&scale, from + padded + c / 32 * 4, sizeof scale);
            x.push_back(scale * static_cast<float>(static_cast<std::int8_t>(from[c])));
        }
    }
    return x;
}

void check_plain(Format format, std::int64_t m, std::int64_t n, std::int64_t k, bool norm) {
    Random random(static_cast<std::uint64_t>(n * 1000 + k * 10 + m));
    const Packing packing = packing_of(format);
    const Matrix matrix(format, n, k, random);
    const std::vector<float> x = normal_values(m * k, random);
    std::vector<float> norm_weight = normal_values(k, random);
    for (float& value : norm_weight) value = 1.0F + 0.1F * value;
    const float eps = 1e-5F;
    DeviceArray packed(matrix.packed);
    DeviceArray input(x);
    DeviceArray norm_values(norm_weight);
    DeviceArray<float> out(static_cast<std::size_t>(m * n));
    MatmulArgs args = {};
    args.jobs[0].weight = packed.data();
    args.jobs[0].out = out.data();
    args.jobs[0].out_stride = static_cast<std::int32_t>(n);
    args.jobs[0].n = static_cast<std::int32_t>(n);
    args.n_jobs = 1;
    args.m = static_cast<std::int32_t>(m);
    args.k = static_cast<std::int32_t>(k);
    const Stream stream;
    const DeviceLimits limits = device_limits();
    std::vector<float> inputs = norm && packing != Packing::f32 ? normalized(x, norm_weight, m, eps) : x;
    if (packing == Packing::f32) {
        matmul_f32(stream, args, input.data(), k);
    } else {
        if (m > gemv_rows(limits, packing, k)) return;
        GemvArgs gemv_args = {.matmul = args,
                              .input = {.rows = input.data(),
                                        .stride = k,
                                        .norm_weight = norm ? norm_values.data() : nullptr,
                                        .norm_eps = eps,
                                        .k = static_cast<std::int32_t>(k)},
                              .packed = nullptr};
        DeviceArray<std::uint8_t> q8(static_cast<std::size_t>(m * q8_row_bytes(k)));
        pack_q8_rows(stream, gemv_args.input, args.m, q8.data());
        if (m > kFusedPackRows && !takes_floats(packing)) gemv_args.packed = q8.data();
        const std::vector<float> rounded = expanded(q8.read(), m, k);
        const std::vector<double> exact(inputs.begin(), inputs.end());
        const double rounding = relative_error(rounded.data(), exact.data(), exact.size());
        CHECK_MSG(rounding <= 6e-3, "int8 activations, m " << m << " k " << k << ": error " << rounding);
        if (!takes_floats(packing)) inputs = rounded;
        gemv(stream, limits, packing, gemv_args);
        wait_for(stream);
    }
    wait_for(stream);
    std::vector<double> expected;
    for (std::int64_t row = 0; row < m; ++row)
        for (std::int64_t column = 0; column < n; ++column)
            expected.push_back(product(matrix, inputs, row, column));
    const double error = relative_error(out.read().data(), expected.data(), expected.size());
    const double allowed = 2e-5;
    CHECK_MSG(error <= allowed, format_info(format).name << " m " << m << " n " << n << " k " << k << " norm "
                                                         << norm << ": error " << error << ", allowed "
                                                         << allowed);
}

}  // namespace

LLMCORE_TEST(cuda_gemv_every_format) {
    for (const Format format : weight_formats()) {
        const std::int64_t block = format_info(format).block_elements;
        for (const std::int64_t m : {1, 2, 3, 8}) check_plain(format, m, 40, 512, m % 2 == 1);
        if (block <= 32) {
            check_plain(format, 1, 72, 288, true);
            check_plain(format, 5, 16, 2336, false);
        }
    }
}

LLMCORE_TEST(cuda_gemv_long_rows) {
    for (const std::int64_t m : {1, 2, 4}) check_plain(Format::Q4_0, m, 24, 14336, true);
    check_plain(Format::Q6_K, 1, 200, 4096, true);
    check_plain(Format::F16, 2, 24, 4096, true);
}

LLMCORE_TEST(cuda_gemv_jobs_and_epilogues) {
    Random random(7);
    const std::int64_t m = 2;
    const std::int64_t k = 256;
    const float softcap = 50.0F;
    const std::int64_t sizes[] = {48, 16, 33};
    const std::vector<float> x = normal_values(m * k, random);
    DeviceArray input(x);
    MatmulArgs args = {};
    args.m = static_cast<std::int32_t>(m);
    args.k = static_cast<std::int32_t>(k);
    args.n_jobs = 3;
    std::vector<Matrix> weights, ups;
    std::vector<std::unique_ptr<DeviceArray<std::uint8_t>>> packed;
    std::vector<std::unique_ptr<DeviceArray<float>>> floats;
    const auto keep = [&](const std::vector<float>& values) {
        return floats.emplace_back(std::make_unique<DeviceArray<float>>(values))->data();
    };
    std::vector<std::vector<float>> bias, up_bias, residual;
    const std::vector<float> gate = normal_values(m, random);
    for (const std::int64_t n : sizes) {
        weights.emplace_back(Format::Q4_K, n, k, random);
        ups.emplace_back(Format::Q4_K, n, k, random);
        bias.push_back(normal_values(n, random));
        up_bias.push_back(normal_values(n, random));
        residual.push_back(normal_values(m * n, random));
    }
    for (std::size_t i = 0; i < 3; ++i) {
        MatmulJob& job = args.jobs[i];
        job.weight =
            packed.emplace_back(std::make_unique<DeviceArray<std::uint8_t>>(weights[i].packed))->data();
        job.n = static_cast<std::int32_t>(sizes[i]);
        job.out_stride = job.n;
        job.bias = keep(bias[i]);
        job.residual = keep(residual[i]);
        job.out = keep(std::vector<float>(static_cast<std::size_t>(m * sizes[i]), kPoison));
    }
    args.jobs[0].up = packed.emplace_back(std::make_unique<DeviceArray<std::uint8_t>>(ups[0].packed))->data();
    args.jobs[0].up_bias = keep(up_bias[0]);
    args.jobs[0].activation = Activation::silu;
    args.jobs[0].gate = keep(gate);
    args.jobs[2].softcap = softcap;
    const Stream stream;
    gemv(stream, device_limits(), Packing::q4_k,
         {.matmul = args,
          .input = {.rows = input.data(),
                    .stride = k,
                    .norm_weight = nullptr,
                    .norm_eps = 0.0F,
                    .k = static_cast<std::int32_t>(k)},
          .packed = nullptr});
    wait_for(stream);
    for (std::size_t i = 0; i < 3; ++i) {
        std::vector<double> expected;
        for (std::int64_t row = 0; row < m; ++row)
            for (std::int64_t c = 0; c < sizes[i]; ++c) {
                const auto column = static_cast<std::size_t>(c);
                double value = product(weights[i], x, row, c) + static_cast<double>(bias[i][column]);
                if (i == 0) {
                    value = value / (1.0 + std::exp(-value)) *
                            (product(ups[0], x, row, c) + static_cast<double>(up_bias[0][column]));
                    value /= 1.0 + std::exp(-static_cast<double>(gate[static_cast<std::size_t>(row)]));
                }
                if (i == 2) value = 50.0 * std::tanh(value / 50.0);
                expected.push_back(
                    value + static_cast<double>(residual[i][static_cast<std::size_t>(row * sizes[i] + c)]));
            }
        std::vector<float> out(expected.size());
        copy_to_host(out.data(), args.jobs[i].out, out.size() * sizeof(float), stream);
        wait_for(stream);
        const double error = relative_error(out.data(), expected.data(), expected.size());
        CHECK_MSG(error <= 1.2e-2, "job " << i << ": error " << error);
    }
}

LLMCORE_TEST(cuda_gemv_shows_what_is_not_a_number) {
    Random random(3);
    const Matrix matrix(Format::Q8_0, 16, 256, random);
    std::vector<float> x = normal_values(256, random);
    x[100] = std::numeric_limits<float>::infinity();
    DeviceArray packed(matrix.packed);
    DeviceArray input(x);
    DeviceArray out(std::vector<float>(16, 1.0F));
    MatmulArgs args = {};
    args.jobs[0].weight = packed.data();
    args.jobs[0].out = out.data();
    args.jobs[0].out_stride = 16;
    args.jobs[0].n = 16;
    args.n_jobs = 1;
    args.m = 1;
    args.k = 256;
    const Stream stream;
    gemv(stream, device_limits(), Packing::q8_0,
         {.matmul = args,
          .input = {.rows = input.data(), .stride = 256, .norm_weight = nullptr, .norm_eps = 0.0F, .k = 256},
          .packed = nullptr});
    wait_for(stream);
    for (const float value : out.read()) CHECK(std::isnan(value));
}

}  // namespace llmcore::test
