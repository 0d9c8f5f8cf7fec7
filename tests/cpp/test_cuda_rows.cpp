#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cuda/frag16.h"
#include "cuda/kernels/rows.h"
#include "device_array.h"
#include "harness.h"

namespace llmcore::test {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::size_t size_of(std::int64_t count) { return static_cast<std::size_t>(count); }

std::vector<float> random_floats(Random& random, std::int64_t count) {
    std::vector<float> values(size_of(count));
    for (float& value : values) value = random.normal();
    return values;
}

// x / sqrt(mean(x^2) + eps) * weight.
std::vector<double> normalized(const float* x, const std::vector<float>& weight, double eps) {
    double sum = 0.0;
    for (std::size_t i = 0; i < weight.size(); ++i) sum += static_cast<double>(x[i]) * x[i];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(weight.size()) + eps);
    std::vector<double> result(weight.size());
    for (std::size_t i = 0; i < weight.size(); ++i) result[i] = x[i] * scale * weight[i];
    return result;
}

std::uint16_t bf16_of(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

float float_of(std::uint16_t bf16) {
    const std::uint32_t bits = static_cast<std::uint32_t>(bf16) << 16;
    float value = 0.0F;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

bool is_poison(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits == 0xFFFFFFFFU;
}

enum class Residual { none, other, in_place };

// Also that nothing between rows is written.
void check_norm(std::int64_t m, std::int64_t n, std::int64_t x_gap, std::int64_t out_gap, Residual kind) {
    Random random(static_cast<std::uint64_t>(n * 7 + m));
    const std::int64_t x_stride = n + x_gap;
    const std::int64_t out_stride = n + out_gap;
    const std::vector<float> x = random_floats(random, m * x_stride);
    const std::vector<float> weight = random_floats(random, n);
    const std::vector<float> added = random_floats(random, m * out_stride);
    DeviceArray<float> device_x(x);
    DeviceArray<float> device_weight(weight);
    DeviceArray<float> device_added(added);
    DeviceArray<float> poisoned(size_of(m * out_stride));
    DeviceArray<float>& out = kind == Residual::in_place ? device_added : poisoned;
    cuda::norm_rows({}, {.x = device_x.data(),
                         .x_stride = x_stride,
                         .weight = device_weight.data(),
                         .residual = kind == Residual::none ? nullptr : device_added.data(),
                         .out = out.data(),
                         .out_stride = out_stride,
                         .m = static_cast<std::int32_t>(m),
                         .n = static_cast<std::int32_t>(n),
                         .eps = 1e-5F});
    const std::vector<float> result = out.read();
    for (std::int64_t row = 0; row < m; ++row) {
        std::vector<double> expected = normalized(x.data() + row * x_stride, weight, 1e-5);
        const float* got = result.data() + row * out_stride;
        if (kind != Residual::none)
            for (std::int64_t i = 0; i < n; ++i)
                expected[size_of(i)] += static_cast<double>(added[size_of(row * out_stride + i)]);
        const double error = relative_error(got, expected.data(), size_of(n));
        CHECK_MSG(error < 1e-6, "m " << m << " n " << n << " row " << row << " error " << error);
        bool untouched = true;
        for (std::int64_t i = n; i < out_stride; ++i)
            untouched &= kind == Residual::in_place ? got[i] == added[size_of(row * out_stride + i)]
                                                    : is_poison(got[i]);
        CHECK(untouched);
    }
}

struct PackCase {
    std::int64_t m, k, gap;
    bool normed, gathered, counted;
};

void check_pack(const PackCase& test) {
    Random random(static_cast<std::uint64_t>(test.k * 3 + test.m));
    const std::int64_t x_rows = test.m + 3;
    const std::int64_t stride = test.k + test.gap;
    const std::int64_t padded = cuda::tiles_of(test.k, 256) * 256;
    const std::int64_t live = test.counted ? test.m - 1 : test.m;
    const std::vector<float> x = random_floats(random, x_rows * stride);
    const std::vector<float> weight = random_floats(random, test.k);
    std::vector<std::int32_t> rows(size_of(test.m));
    for (std::int32_t& row : rows)
        row = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(x_rows)));
    DeviceArray<float> device_x(x);
    DeviceArray<float> device_weight(weight);
    DeviceArray<std::int32_t> device_rows(rows);
    DeviceArray<std::int32_t> device_live(std::vector<std::int32_t>{static_cast<std::int32_t>(live)});
    DeviceArray<std::uint16_t> out(size_of(test.m * padded));
    cuda::pack_bf16_rows({}, {.x = device_x.data(),
                              .x_stride = stride,
                              .norm_weight = test.normed ? device_weight.data() : nullptr,
                              .source_rows = test.gathered ? device_rows.data() : nullptr,
                              .live_rows = test.counted ? device_live.data() : nullptr,
                              .out = out.data(),
                              .m = static_cast<std::int32_t>(test.m),
                              .k = static_cast<std::int32_t>(test.k),
                              .norm_eps = 1e-5F});
    const std::vector<std::uint16_t> result = out.read();
    int wrong = 0;
    for (std::int64_t row = 0; row < test.m; ++row) {
        const std::uint16_t* got = result.data() + row * padded;
        const float* source = x.data() + (test.gathered ? rows[size_of(row)] : row) * stride;
        const std::vector<double> norm = normalized(source, weight, 1e-5);
        for (std::int64_t column = 0; column < padded; ++column) {
            const std::uint16_t bits = got[cuda::permuted_column(column)];
            if (row >= live) {
                wrong += bits == 0xFFFF ? 0 : 1;
            } else if (column >= test.k) {
                wrong += bits == 0 ? 0 : 1;
            } else if (!test.normed) {
                wrong += bits == bf16_of(source[column]) ? 0 : 1;
            } else {
                const double expected = norm[size_of(column)];
                wrong += std::fabs(float_of(bits) - expected) <= std::fabs(expected) * 0x1.01p-8 ? 0 : 1;
            }
        }
    }
    CHECK_MSG(wrong == 0, "m " << test.m << " k " << test.k << " normed " << test.normed << ": " << wrong);
}

std::int32_t argmax_of(const float* values, std::int64_t n) {
    std::int64_t best = -1;
    for (std::int64_t i = 0; i < n; ++i)
        if (!std::isnan(values[i]) && (best < 0 || values[i] > values[best])) best = i;
    return static_cast<std::int32_t>(best < 0 ? 0 : best);
}

// Twice, so that the workspace must be left as it was found.
void check_argmax(const std::vector<float>& values, std::int64_t m, std::int64_t n, std::int64_t stride) {
    DeviceArray<float> device_values(values);
    DeviceArray<unsigned char> workspace(cuda::argmax_workspace_bytes(m));
    workspace.fill(0);
    for (int round = 0; round < 2; ++round) {
        DeviceArray<std::int32_t> out(size_of(m));
        cuda::argmax_rows({}, {.values = device_values.data(),
                               .stride = stride,
                               .m = static_cast<std::int32_t>(m),
                               .n = static_cast<std::int32_t>(n),
                               .out = out.data(),
                               .workspace = workspace.data()});
        const std::vector<std::int32_t> result = out.read();
        for (std::int64_t row = 0; row < m; ++row) {
            const std::int32_t expected = argmax_of(values.data() + row * stride, n);
            CHECK_MSG(result[size_of(row)] == expected, "m " << m << " n " << n << " row " << row << ": "
                                                             << result[size_of(row)] << " for " << expected);
        }
    }
}

}  // namespace

LLMCORE_TEST(cuda_rows_norm) {
    for (const std::int64_t n : {1, 3, 64, 130, 896, 2048, 2050, 4096}) {
        check_norm(3, n, 0, 0, Residual::none);
        check_norm(2, n, 4, 8, Residual::other);
        check_norm(2, n, 1, 3, Residual::in_place);
    }
    for (const std::int64_t n : {8192, 8196, 16384, 16385, 32767, 32768})
        check_norm(2, n, 0, 0, Residual::other);
    check_norm(0, 64, 0, 0, Residual::none);
    cuda::NormRowsArgs too_long = {};
    too_long.m = 1;
    too_long.n = cuda::kLongestNormRow + 1;
    CHECK_THROWS(ErrorCode::internal, cuda::norm_rows({}, too_long));
}

LLMCORE_TEST(cuda_rows_norm_of_x_itself) {
    Random random(11);
    const std::vector<float> x = random_floats(random, 2 * 100);
    const std::vector<float> weight = random_floats(random, 100);
    DeviceArray<float> rows(x);
    DeviceArray<float> device_weight(weight);
    cuda::norm_rows({}, {.x = rows.data(),
                         .x_stride = 100,
                         .weight = device_weight.data(),
                         .residual = nullptr,
                         .out = rows.data(),
                         .out_stride = 100,
                         .m = 2,
                         .n = 100,
                         .eps = 1e-6F});
    const std::vector<float> result = rows.read();
    for (std::size_t row = 0; row < 2; ++row) {
        const std::vector<double> expected = normalized(x.data() + row * 100, weight, 1e-6);
        CHECK(relative_error(result.data() + row * 100, expected.data(), 100) < 1e-6);
    }
}

LLMCORE_TEST(cuda_rows_pack) {
    for (const bool normed : {false, true}) {
        for (const std::int64_t k : {1, 17, 256, 300, 896, 2048, 4097})
            for (const std::int64_t gap : {0, 1, 4}) check_pack({3, k, gap, normed, false, false});
        check_pack({5, 520, 0, normed, true, false});
        check_pack({5, 520, 4, normed, true, true});
        check_pack({2, 16384, 0, normed, false, false});
        check_pack({2, 16390, 0, normed, true, false});
        check_pack({1, 32768, 0, normed, false, false});
    }
    check_pack({1, 53248, 0, false, false, false});
}

LLMCORE_TEST(cuda_rows_pack_special_values) {
    const std::vector<float> x = {kInfinity,   -kInfinity,  kNan,    -0.0F,
                                  1.00390625F, 1.01171875F, 3.4e38F, 1e-40F};
    DeviceArray<float> device_x(x);
    DeviceArray<std::uint16_t> out(256);
    cuda::PackRowsArgs args = {};
    args.x = device_x.data();
    args.x_stride = 8;
    args.out = out.data();
    args.m = 1;
    args.k = 8;
    cuda::pack_bf16_rows({}, args);
    const std::vector<std::uint16_t> result = out.read();
    for (std::int64_t i = 0; i < 8; ++i) {
        const std::uint16_t bits = result[size_of(cuda::permuted_column(i))];
        if (std::isnan(x[size_of(i)]))
            CHECK(std::isnan(float_of(bits)));
        else
            CHECK_MSG(bits == bf16_of(x[size_of(i)]), "value " << i << " bits " << bits);
    }
}

LLMCORE_TEST(cuda_rows_gather) {
    Random random(5);
    for (const std::int64_t n : {1, 7, 64, 1024, 1030, 5000}) {
        for (const bool with_sum : {false, true}) {
            const std::int64_t m = 4;
            const std::int64_t in_stride = n + (with_sum ? 1 : 0);
            const std::int64_t out_stride = n + 2;
            const std::vector<float> in = random_floats(random, 6 * in_stride);
            const std::vector<float> added = random_floats(random, m * out_stride);
            const std::vector<std::int32_t> rows = {5, 0, 5, 2};
            DeviceArray<float> device_in(in);
            DeviceArray<float> out(added);
            DeviceArray<std::int32_t> device_rows(rows);
            cuda::gather_rows({}, {.in = device_in.data(),
                                   .in_stride = in_stride,
                                   .rows = with_sum ? nullptr : device_rows.data(),
                                   .added = with_sum ? out.data() : nullptr,
                                   .out = out.data(),
                                   .out_stride = out_stride,
                                   .m = static_cast<std::int32_t>(m),
                                   .n = static_cast<std::int32_t>(n)});
            const std::vector<float> result = out.read();
            int wrong = 0;
            for (std::int64_t row = 0; row < m; ++row)
                for (std::int64_t i = 0; i < out_stride; ++i) {
                    const std::int64_t at = row * out_stride + i;
                    float expected = added[size_of(at)];
                    if (i < n && with_sum) expected += in[size_of(row * in_stride + i)];
                    if (i < n && !with_sum) expected = in[size_of(rows[size_of(row)] * in_stride + i)];
                    wrong += result[size_of(at)] == expected ? 0 : 1;
                }
            CHECK_MSG(wrong == 0, "n " << n << " wrong " << wrong);
        }
    }
}

LLMCORE_TEST(cuda_rows_argmax) {
    Random random(17);
    for (const std::int64_t n : {1, 5, 255, 2048, 2049, 32003, 128256})
        check_argmax(random_floats(random, n), 1, n, n);
    check_argmax(random_floats(random, 300000), 1, 300000, 300000);
    check_argmax(random_floats(random, 7 * 5003), 7, 5000, 5003);
    check_argmax(random_floats(random, 600 * 2100), 600, 2100, 2100);
}

LLMCORE_TEST(cuda_rows_argmax_ties_and_nan) {
    constexpr std::int64_t n = 10001;
    Random random(23);
    std::vector<float> values;
    const auto add_row = [&](float fill) {
        values.resize(values.size() + size_of(n), fill);
        return values.data() + values.size() - size_of(n);
    };
    add_row(kNan);
    add_row(-kInfinity);
    add_row(0.0F)[0] = -0.0F;
    add_row(-1.0F)[n - 1] = 0.0F;
    add_row(kNan)[7777] = -kInfinity;
    add_row(kNan)[n - 1] = -3.0F;
    float* row = add_row(-2.0F);
    row[0] = kNan;
    row[9000] = row[5000] = row[5003] = kInfinity;
    for (int i = 0; i < 4; ++i) {
        row = add_row(0.0F);
        for (std::int64_t j = 0; j < n; ++j) row[j] = static_cast<float>(random.below(40)) - 60.0F;
    }
    const auto m = static_cast<std::int64_t>(values.size()) / n;
    check_argmax(values, m, n, n);
}

}  // namespace llmcore::test
