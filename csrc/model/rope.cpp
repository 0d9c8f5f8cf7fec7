#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "base/error.h"
#include "gguf/printable.h"
#include "quant/format_table.h"

namespace llmcore {

namespace {

constexpr const char* kComponent = "model";
constexpr double kTwoPi = 6.28318530717958647692;
constexpr double kMostPositions = 1e12;

std::vector<double> plain_frequencies(double base, std::int64_t dims) {
    std::vector<double> frequencies;
    for (std::int64_t i = 0; i < dims / 2; ++i)
        frequencies.push_back(std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(dims)));
    return frequencies;
}

// `origin`: what the frequencies were made from.
std::vector<float> to_float(const std::vector<double>& frequencies, const std::string& origin) {
    std::vector<float> result;
    for (const double frequency : frequencies) {
        if (!(std::abs(frequency) <= std::numeric_limits<float>::max()))
            fail(ErrorCode::model, kComponent,
                 "rope frequency " + std::to_string(result.size()) + ", made from " + origin +
                     ", is no finite float");
        result.push_back(static_cast<float>(frequency));
    }
    return result;
}

// Checked, or none if the file has no such tensor.
std::vector<double> read_factors(const gguf::File& file, const char* name, std::size_t count) {
    std::vector<double> factors;
    const gguf::TensorInfo* tensor = file.find_tensor(name);
    if (tensor == nullptr) return factors;
    if (tensor->format != Format::F32 || tensor->cols() != static_cast<std::int64_t>(count) ||
        tensor->rows() != 1)
        fail(ErrorCode::model, kComponent, std::string("shape of ") + name,
             std::to_string(tensor->rows()) + " x " + std::to_string(tensor->cols()) + " of " +
                 format_info(tensor->format).name,
             std::to_string(count) + " values of F32");
    for (std::size_t i = 0; i < count; ++i) {
        float factor = 1.0F;
        std::memcpy(&factor, tensor->data + i * sizeof(factor), sizeof(factor));
        if (!std::isfinite(factor) || factor == 0.0F)
            fail(ErrorCode::model, kComponent, std::string("value of ") + name, std::to_string(factor),
                 "finite numbers that are not 0");
        factors.push_back(static_cast<double>(factor));
    }
    return factors;
}

// The dimension that turns `turns` times within the original context.
double yarn_dimension(double turns, double base, double dims, double original_context) {
    return dims * std::log(original_context / (turns * kTwoPi)) / (2.0 * std::log(base));
}

// YaRN ("NTK by parts"): dimensions that turn often stay, those that turn seldom are stretched by the factor,
// with a ramp in between.
void stretch_by_parts(const Metadata& metadata, const Architecture& architecture, double base, double factor,
                      double original_context, std::vector<double>& frequencies) {
    // Writers put -1 for none.
    const double written = metadata.file().get_float(metadata.full("rope.scaling.yarn_ext_factor"), -1.0);
    const double strength = written >= 0.0 && written <= 1.0 ? written : 1.0;
    const double fast = metadata.positive("rope.scaling.yarn_beta_fast", 32.0);
    const double slow = metadata.positive("rope.scaling.yarn_beta_slow", 1.0);
    const auto dims = 2.0 * static_cast<double>(frequencies.size());
    double low = yarn_dimension(fast, base, dims, original_context);
    double high = yarn_dimension(slow, base, dims, original_context);
    if (architecture.rounds_yarn) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, dims - 1.0);
    const double width = std::max(high - low, 0.001);
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const double stretched = std::clamp((static_cast<double>(i) - low) / width, 0.0, 1.0);
        const double kept = strength * (1.0 - stretched);
        frequencies[i] *= kept + (1.0 - kept) / factor;
    }
}

double read_factor(const Metadata& metadata) {
    if (metadata.has("rope.scaling.factor")) return metadata.positive("rope.scaling.factor", 1.0);
    return metadata.positive("rope.scale_linear", 1.0);  // the key's older name
}

}  // namespace

RopeSpec plain_rope(const Metadata& metadata, std::string_view base_key, double fallback, std::int64_t dims) {
    const double base = metadata.positive(base_key, fallback);
    return {.inv_freq = to_float(plain_frequencies(base, dims), metadata.full(base_key))};
}

RopeSpec read_rope(const Metadata& metadata, const Architecture& architecture, std::int64_t dims,
                   std::int64_t n_ctx_train, std::int64_t n_ctx) {
    const gguf::File& file = metadata.file();
    const double base = metadata.positive("rope.freq_base", 10000.0);
    std::vector<double> frequencies = plain_frequencies(base, dims);
    double magnitude = metadata.positive("rope.scaling.attn_factor", 1.0);
    const std::int64_t original = metadata.size("rope.scaling.original_context_length", n_ctx_train,
                                                static_cast<std::int64_t>(kMostPositions));

    const std::string scaling = metadata.text("rope.scaling.type", "linear");
    if (scaling == "linear") {
        const double factor = read_factor(metadata);
        for (double& frequency : frequencies) frequency /= factor;
    } else if (scaling == "yarn") {
        if (base <= 1.0)
            fail(ErrorCode::model, kComponent, "value of " + metadata.full("rope.freq_base"),
                 std::to_string(base), "above 1 for YaRN");
        const double factor = read_factor(metadata);
        stretch_by_parts(metadata, architecture, base, factor, static_cast<double>(original), frequencies);
        const auto growth = [&](double multiplier) {
            return factor > 1.0 ? 1.0 + 0.1 * multiplier * std::log(factor) : 1.0;
        };
        // Where the file has a multiplier, scores have grown by it already.
        magnitude *= growth(1.0) / growth(metadata.not_negative("rope.scaling.yarn_log_multiplier", 0.0));
    } else if (scaling != "none" && scaling != "longrope") {
        fail(ErrorCode::model, kComponent, "unsupported " + metadata.full("rope.scaling.type"),
             gguf::printable(scaling), "none, linear, yarn or longrope");
    }

    const std::vector<double> fixed = read_factors(file, kRopeFactors, frequencies.size());
    const std::vector<double> far = read_factors(file, kRopeFactorsLong, frequencies.size());
    const std::vector<double> near = read_factors(file, kRopeFactorsShort, frequencies.size());
    const std::vector<double>& factors = !fixed.empty() ? fixed : n_ctx > original ? far : near;
    if (scaling == "longrope" && factors.empty())
        fail(ErrorCode::model, kComponent,
             std::string("longrope without the tensor ") +
                 (n_ctx > original ? kRopeFactorsLong : kRopeFactorsShort));
    for (std::size_t i = 0; i < factors.size(); ++i) frequencies[i] /= factors[i];
    return {.inv_freq = to_float(frequencies, metadata.full("rope.freq_base") + ", its scaling and factors"),
            .magnitude = static_cast<float>(magnitude)};
}

}  // namespace llmcore
