// Quantization of whatever floats there are: results are finite and never worse than zeros.
#include "quant/quantize.h"

#include <cmath>
#include <limits>
#include <vector>

#include "harness.h"
#include "quant/format_table.h"
#include "quant/half.h"

namespace llmcore::test {

namespace {

constexpr std::int64_t kCount = 512;

// Random bits with exponents from a random range, so that blocks are tiny, huge or a bit of both.
std::vector<float> any_floats(Random& random) {
    const std::uint64_t lowest = random.below(254);
    const std::uint64_t span = 1 + random.below(255 - lowest);
    const bool positive = random.below(4) == 0;
    std::vector<float> values(kCount);
    for (float& value : values) {
        const std::uint64_t bits = random.next();
        const std::uint64_t exponent = lowest + bits / 65536 % span;
        const std::uint64_t sign = positive ? 0 : bits >> 63;
        value =
            float_from_bits(static_cast<std::uint32_t>((sign << 31) | (exponent << 23) | (bits & 0x7FFFFF)));
        if (bits % 11 == 0) value = 0.0F;
    }
    return values;
}

std::vector<std::uint8_t> quantized(Format format, const std::vector<float>& values) {
    std::vector<std::uint8_t> blocks(
        static_cast<std::size_t>(row_bytes(format, static_cast<std::int64_t>(values.size()))));
    quantize(format, values.data(), blocks.data(), static_cast<std::int64_t>(values.size()));
    return blocks;
}

}  // namespace

LLMCORE_TEST(quantize_takes_any_finite_values) {
    Random random(7);
    for (const FormatInfo& info : all_formats()) {
        if (!can_quantize(info.format)) continue;
        for (int round = 0; round < 100; ++round) {
            const std::vector<float> values = any_floats(random);
            const std::vector<std::uint8_t> blocks = quantized(info.format, values);
            std::vector<float> restored(kCount);
            dequantize(info.format, blocks.data(), restored.data(), kCount);
            double error = 0;
            double energy = 0;
            for (std::size_t i = 0; i < restored.size(); ++i) {
                const double value = values[i];
                error += (value - restored[i]) * (value - restored[i]);
                energy += value * value;
            }
            CHECK_MSG(error <= energy * (1 + 1e-6),
                      info.name << " round " << round << " " << error << " " << energy);
        }
    }
}

LLMCORE_TEST(quantize_refuses_what_is_not_finite) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const FormatInfo& info : all_formats()) {
        if (!can_quantize(info.format)) continue;
        for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
            std::vector<float> values(kCount, 1.0F);
            values[kCount - 1] = bad;
            bool refused = false;
            try {
                quantized(info.format, values);
            } catch (const Error& error) {
                refused = error.code() == ErrorCode::invalid_argument;
            }
            CHECK_MSG(refused, info.name);
        }
    }
}

}  // namespace llmcore::test
