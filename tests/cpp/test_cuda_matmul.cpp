// matmul_bf16 against float64 sums. Compiled by a C++ compiler it runs the kernels through the emulation; by
// nvcc, on the device, where it also reaches the kernels that the emulation has not.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "cuda/device.h"
#include "cuda/kernels/matmul.h"
#include "cuda/packed/repack.h"
#include "harness.h"
#include "quant/format_table.h"
#include "random_weights.h"

using namespace llmcore;
using namespace llmcore::cuda;
using llmcore::test::Random;

namespace {

class DeviceBytes {
public:
    explicit DeviceBytes(std::size_t bytes) : memory_(device_alloc(bytes)), bytes_(bytes) {
        fill_device(memory_, 0xFF, bytes, {});  // NaN as float32, float16 and bf16
    }
    template <class T>
    explicit DeviceBytes(const std::vector<T>& from) : DeviceBytes(from.size() * sizeof(T)) {
        copy_to_device(memory_, from.data(), bytes_, {});
        wait_for({});
    }
    ~DeviceBytes() { device_free(memory_); }
    DeviceBytes(const DeviceBytes&) = delete;
    DeviceBytes& operator=(const DeviceBytes&) = delete;

    template <class T>
    T* as() const {
        return static_cast<T*>(memory_);
    }
    template <class T>
    std::vector<T> host() const {
        std::vector<T> values(bytes_ / sizeof(T));
        copy_to_host(values.data(), memory_, bytes_, {});
        wait_for({});
        return values;
    }
    std::vector<float> floats() const { return host<float>(); }

private:
    void* memory_;
    std::size_t bytes_;
};

std::uint16_t bf16_bits(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

void round_to_bf16(std::vector<float>& values) {
    for (float& value : values) {
        const std::uint32_t bits = static_cast<std::uint32_t>(bf16_bits(value)) << 16;
        std::memcpy(&value, &bits, sizeof(bits));
    }
}

// Whether a weight on the device is the format's value rounded once to bf16: then only the order of sums is
// left.
bool rounded_once(Format format) {
    return format == Format::F16 || format == Format::BF16 || format == Format::Q8_0 ||
           format == Format::IQ4_NL || format == Format::MXFP4;
}

std::vector<float> random_floats(std::int64_t count, Random& random) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = random.normal();
    return values;
}

// Matrices of n rows and k columns one after another, packed, and their values.
struct Weights {
    std::vector<unsigned char> packed;
    std::vector<float> values;
};

Weights make_weights(Format format, std::int64_t matrices, std::int64_t n, std::int64_t k, Random& random) {
    Weights weights;
    const std::size_t bytes = packed_bytes(packing_of(format), n, k);
    weights.packed.resize(static_cast<std::size_t>(matrices) * bytes);
    weights.values.resize(static_cast<std::size_t>(matrices * n * k));
    for (std::int64_t i = 0; i < matrices; ++i) {
        const std::vector<std::uint8_t> rows = test::random_weights(format, n, k, random);
        dequantize(format, rows.data(), weights.values.data() + i * n * k, n * k);
        repack_host(format, rows.data(), n, k, weights.packed.data() + static_cast<std::size_t>(i) * bytes);
    }
    if (rounded_once(format)) round_to_bf16(weights.values);
    return weights;
}

std::vector<std::uint16_t> stored_input(const std::vector<float>& input, std::int64_t m, std::int64_t k) {
    const std::int64_t padded = tiles_of(k, kTileCols) * kTileCols;
    std::vector<std::uint16_t> stored(static_cast<std::size_t>(m * padded), 0);
    for (std::int64_t row = 0; row < m; ++row)
        for (std::int64_t column = 0; column < k; ++column)
            stored[static_cast<std::size_t>(row * padded + permuted_column(column))] =
                bf16_bits(input[static_cast<std::size_t>(row * k + column)]);
    return stored;
}

struct JobCase {
    std::int64_t n = 0;
    bool up = false;
    bool bias = false;
    bool residual = false;  // in place
    bool gate = false;
    Activation activation = Activation::none;
    float softcap = 0.0F;
    bool packed = false;  // written as another product's input; n a multiple of 256
};

struct Case {
    Format format = Format::Q4_0;
    std::int64_t m = 0;
    std::int64_t k = 0;
    std::vector<JobCase> jobs;
    std::vector<std::int32_t> expert_begin;  // empty: one matrix
};

double activated(Activation activation, double gate, double up, bool has_up) {
    if (activation == Activation::swiglu_clamped) {
        const double g = std::min(gate, 7.0);
        return g / (1.0 + std::exp(-1.702 * g)) * (std::clamp(up, -7.0, 7.0) + 1.0);
    }
    const double cube = gate * gate * gate;
    double value = gate;
    if (activation == Activation::silu) value = gate / (1.0 + std::exp(-gate));
    if (activation == Activation::gelu_tanh)
        value = 0.5 * gate * (1.0 + std::tanh(0.7978845608 * (gate + 0.044715 * cube)));
    if (activation == Activation::gelu_erf) value = 0.5 * gate * (1.0 + std::erf(gate * 0.7071067812));
    if (activation == Activation::relu) value = std::max(gate, 0.0);
    if (activation == Activation::tanh) value = std::tanh(gate);
    return has_up ? value * up : value;
}

double dot(const float* a, const float* b, std::int64_t k) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < k; ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

// All that a job needs on the device, and on the host to check it.
struct JobData {
    JobCase what;
    Weights weights, up;
    std::vector<float> bias, up_bias, residual, gate;
    std::vector<DeviceBytes*> owned;
    DeviceBytes* out = nullptr;
    DeviceBytes* packed = nullptr;
    std::int64_t stride = 0;
    MatmulJob job = {};

    template <class T>
    const T* upload(const std::vector<T>& from) {
        owned.push_back(new DeviceBytes(from));
        return owned.back()->as<T>();
    }
    JobData() = default;
    JobData(const JobData&) = delete;
    JobData& operator=(const JobData&) = delete;
    ~JobData() {
        for (DeviceBytes* bytes : owned) delete bytes;
    }

    void make(const Case& c, const JobCase& job_case, Random& random) {
        what = job_case;
        const std::int64_t experts =
            c.expert_begin.empty() ? 1 : static_cast<std::int64_t>(c.expert_begin.size()) - 1;
        stride = what.n + 5;
        weights = make_weights(c.format, experts, what.n, c.k, random);
        job.weight = upload(weights.packed);
        job.n = static_cast<std::int32_t>(what.n);
        job.out_stride = static_cast<std::int32_t>(stride);
        job.activation = what.activation;
        job.softcap = what.softcap;
        if (what.up) {
            up = make_weights(c.format, experts, what.n, c.k, random);
            job.up = upload(up.packed);
        }
        if (what.bias) {
            bias = random_floats(experts * what.n, random);
            job.bias = upload(bias);
            job.bias_stride = static_cast<std::int32_t>(what.n);
            if (what.up) {
                up_bias = random_floats(experts * what.n, random);
                job.up_bias = upload(up_bias);
            }
        }
        if (what.gate) {
            gate = random_floats(c.m, random);
            job.gate = upload(gate);
        }
        if (what.residual) {
            residual = random_floats(c.m * stride, random);
            job.out = const_cast<float*>(upload(residual));
            job.residual = job.out;
            out = owned.back();
        } else {
            owned.push_back(out = new DeviceBytes(static_cast<std::size_t>(c.m * stride) * sizeof(float)));
            job.out = out->as<float>();
        }
        if (what.packed) {
            owned.push_back(packed = new DeviceBytes(static_cast<std::size_t>(c.m * what.n) * 2));
            job.packed_out = packed->as<std::uint16_t>();
        }
    }

    // The packed results, in the order and with the gaps of plain ones.
    std::vector<float> unpacked(std::int64_t m) const {
        const std::vector<std::uint16_t> bits = packed->host<std::uint16_t>();
        std::vector<float> values(static_cast<std::size_t>(m * stride), std::nanf(""));
        for (std::int64_t row = 0; row < m; ++row)
            for (std::int64_t column = 0; column < what.n; ++column) {
                const std::uint32_t word =
                    static_cast<std::uint32_t>(
                        bits[static_cast<std::size_t>(row * what.n + permuted_column(column))])
                    << 16;
                std::memcpy(&values[static_cast<std::size_t>(row * stride + column)], &word, sizeof word);
            }
        return values;
    }

    double expected(const Case& c, const float* x, std::int64_t row, std::int64_t column,
                    std::int64_t expert) const {
        const std::int64_t at = expert * what.n + column;
        double sum = dot(x, weights.values.data() + at * c.k, c.k);
        double up_sum = what.up ? dot(x, up.values.data() + at * c.k, c.k) : 0.0;
        if (what.bias) sum += bias[static_cast<std::size_t>(at)];
        if (what.bias && what.up) up_sum += up_bias[static_cast<std::size_t>(at)];
        sum = what.softcap > 0.0F ? what.softcap * std::tanh(sum / what.softcap)
                                  : activated(what.activation, sum, up_sum, what.up);
        if (what.gate) sum /= 1.0 + std::exp(-static_cast<double>(gate[static_cast<std::size_t>(row)]));
        if (what.residual) sum += residual[static_cast<std::size_t>(row * stride + column)];
        return sum;
    }

    void check(const Case& c, const std::vector<float>& input, double limit) const {
        const std::vector<float> got = what.packed ? unpacked(c.m) : out->floats();
        double error = 0.0;
        double norm = 0.0;
        bool whole = true;  // what is beyond the columns, and rows of no expert, are untouched
        for (std::int64_t row = 0; row < c.m; ++row) {
            std::int64_t expert = 0;
            if (!c.expert_begin.empty())
                expert = std::upper_bound(c.expert_begin.begin(), c.expert_begin.end(), row) -
                         c.expert_begin.begin() - 1;
            for (std::int64_t column = 0; column < stride; ++column) {
                const float value = got[static_cast<std::size_t>(row * stride + column)];
                if (column >= what.n) {
                    whole = whole && (what.residual
                                          ? value == residual[static_cast<std::size_t>(row * stride + column)]
                                          : std::isnan(value));
                    continue;
                }
                const double right = expected(c, input.data() + row * c.k, row, column, expert);
                error += (value - right) * (value - right);
                norm += right * right;
            }
        }
        const double relative = std::sqrt(error / norm);
        CHECK_MSG(whole,
                  "format " << static_cast<int>(c.format) << " m " << c.m << " n " << what.n << " k " << c.k);
        CHECK_MSG(relative < limit, "relative error " << relative << " format " << static_cast<int>(c.format)
                                                      << " m " << c.m << " n " << what.n << " k " << c.k
                                                      << " up " << what.up);
    }
};

// multiprocessors 0: as the device has them. 1: blocks of many rows; many: of few.
void run(const Case& c, int multiprocessors, std::uint64_t seed) {
#if !defined(__CUDACC__)
    set_emulation_seed(seed);
#endif
    Random random(seed);
    std::vector<JobData> jobs(c.jobs.size());
    MatmulArgs args = {};
    args.n_jobs = static_cast<std::int32_t>(jobs.size());
    args.m = static_cast<std::int32_t>(c.m);
    args.k = static_cast<std::int32_t>(c.k);
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        jobs[i].make(c, c.jobs[i], random);
        args.jobs[i] = jobs[i].job;
    }
    // Sums of a size at which the activation functions bend.
    const std::vector<float>& values = jobs[0].weights.values;
    const double mean_square = dot(values.data(), values.data(), static_cast<std::int64_t>(values.size())) /
                               static_cast<double>(values.size());
    std::vector<float> input = random_floats(c.m * c.k, random);
    for (float& x : input) x *= static_cast<float>(2.0 / std::sqrt(mean_square * static_cast<double>(c.k)));
    if (rounded_once(c.format)) round_to_bf16(input);
    const DeviceBytes device_input(stored_input(input, c.m, c.k));
    if (!c.expert_begin.empty()) {
        args.expert_begin = jobs[0].upload(c.expert_begin);
        args.n_experts = static_cast<std::int32_t>(c.expert_begin.size()) - 1;
        args.expert_bytes = static_cast<std::int64_t>(packed_bytes(packing_of(c.format), c.jobs[0].n, c.k));
    }
    DeviceLimits limits = device_limits();
    // No more than there are: blocks that share a tile wait for one another.
    if (multiprocessors != 0 && (limits.compute_capability != 90 || multiprocessors < limits.multiprocessors))
        limits.multiprocessors = multiprocessors;
    const DeviceBytes workspace(std::vector<unsigned char>(matmul_workspace_bytes(limits), 0));
    args.workspace = workspace.as<void>();
    // Twice: the workspace is left as it was found. In place it would add up.
    const bool in_place =
        std::any_of(c.jobs.begin(), c.jobs.end(), [](const JobCase& job) { return job.residual; });
    const int times = in_place ? 1 : 2;
    for (int i = 0; i < times; ++i)
        matmul_bf16({}, limits, packing_of(c.format), args, device_input.as<std::uint16_t>());
    wait_for({});
    for (const JobData& job : jobs)
        job.check(c, input, rounded_once(c.format) && !job.what.packed ? 1e-5 : job.what.up ? 6e-3 : 4e-3);
}

JobCase plain(std::int64_t n) {
    JobCase job;
    job.n = n;
    return job;
}

constexpr int kManyMultiprocessors = 1 << 20;
constexpr Format kFormats[] = {Format::Q4_0,   Format::Q4_1,  Format::Q5_0, Format::Q5_1, Format::Q8_0,
                               Format::Q4_K,   Format::Q5_K,  Format::Q6_K, Format::Q3_K, Format::IQ4_NL,
                               Format::IQ4_XS, Format::MXFP4, Format::F16,  Format::BF16};

}  // namespace

LLMCORE_TEST(cuda_matmul_every_packing) {
    std::uint64_t seed = 1;
    for (const Format format : kFormats) {
        const bool super_blocks = format == Format::Q4_K || format == Format::Q5_K ||
                                  format == Format::Q6_K || format == Format::Q3_K ||
                                  format == Format::IQ4_XS;
        JobCase glu = plain(40);
        glu.up = glu.bias = glu.residual = true;
        glu.activation = Activation::silu;
        const std::int64_t k = super_blocks ? 512 : 288;
        for (const int multiprocessors : {1, kManyMultiprocessors}) {
            run({format, 17, k, {plain(40), plain(16)}, {}}, multiprocessors, seed++);
            run({format, 9, k, {glu}, {}}, multiprocessors, seed++);
        }
    }
}

LLMCORE_TEST(cuda_matmul_shapes) {
    std::uint64_t seed = 100;
    for (const std::int64_t m : {9, 16, 17, 33, 65})
        for (const std::int64_t n : {16, 40, 136})
            for (const std::int64_t k : {256, 288, 544})
                for (const int multiprocessors : {1, kManyMultiprocessors})
                    run({Format::Q4_0, m, k, {plain(n)}, {}}, multiprocessors, seed++);
}

LLMCORE_TEST(cuda_matmul_epilogues) {
    std::uint64_t seed = 200;
    for (const std::int64_t m : {9, 33, 65})
        for (const int multiprocessors : {1, kManyMultiprocessors}) {
            for (const Activation activation :
                 {Activation::none, Activation::silu, Activation::gelu_tanh, Activation::gelu_erf,
                  Activation::relu, Activation::tanh, Activation::swiglu_clamped}) {
                JobCase job = plain(40);
                job.up = job.bias = true;
                job.activation = activation;
                run({Format::Q8_0, m, 256, {job}, {}}, multiprocessors, seed++);
            }
            JobCase capped = plain(136);
            capped.softcap = 30.0F;
            JobCase gated = plain(24);
            gated.gate = gated.residual = true;
            JobCase biased = plain(8);
            biased.bias = true;
            run({Format::Q8_0, m, 288, {capped, gated, biased, plain(40)}, {}}, multiprocessors, seed++);
        }
}

LLMCORE_TEST(cuda_matmul_packed_results) {
    std::uint64_t seed = 250;
    for (const std::int64_t m : {9, 33, 130}) {
        JobCase glu = plain(256);
        glu.up = glu.packed = true;
        glu.activation = Activation::silu;
        JobCase biased = glu;
        biased.bias = true;
        biased.activation = Activation::gelu_tanh;
        JobCase half = plain(512);
        half.packed = true;
        run({Format::Q8_0, m, 288, {glu, biased}, {}}, kManyMultiprocessors, seed++);
        run({Format::Q4_0, m, 256, {half, plain(40)}, {}}, 1, seed++);
    }
}

LLMCORE_TEST(cuda_matmul_experts) {
    std::uint64_t seed = 300;
    const std::vector<std::vector<std::int32_t>> segments = {
        {0, 0, 1, 1, 20, 21},      // one expert has nearly all
        {0, 5, 10, 15, 20, 25},    // even
        {0, 90, 90, 90, 91, 100},  // more token blocks than the grid has
        {0, 17, 40, 40, 150, 210},
    };
    for (const std::vector<std::int32_t>& begin : segments)
        for (const int multiprocessors : {1, kManyMultiprocessors}) {
            JobCase glu = plain(40);
            glu.up = glu.bias = true;
            glu.activation = Activation::swiglu_clamped;
            JobCase down = plain(72);
            down.bias = down.gate = true;
            run({Format::Q4_0, begin.back(), 288, {glu}, begin}, multiprocessors, seed++);
            run({Format::MXFP4, begin.back(), 256, {down}, begin}, multiprocessors, seed++);
        }
}

// Tiles that blocks make together, in every size of a tile; the devices that have such kernels only.
LLMCORE_TEST(cuda_matmul_split_tiles) {
    CHECK(true);  // a test without checks counts as failed
    if (device_limits().compute_capability != 90) return;
    std::uint64_t seed = 500;
    for (const Format format : {Format::Q4_0, Format::Q4_K, Format::Q6_K, Format::Q8_0, Format::F16})
        for (const std::int64_t m : {3, 9, 16, 27, 33, 64, 65, 128})
            for (const int multiprocessors : {0, 5}) {
                JobCase glu = plain(264);
                glu.up = glu.bias = glu.residual = true;
                glu.activation = Activation::silu;
                run({format, m, 1536, {plain(300), plain(136)}, {}}, multiprocessors, seed++);
                run({format, m, 768, {glu}, {}}, multiprocessors, seed++);
                JobCase packed = plain(512);
                packed.up = packed.packed = true;
                packed.activation = Activation::silu;
                run({format, m, 768, {packed}, {}}, multiprocessors, seed++);
            }
}

// As large as the kernels of tensor-core devices ask for; far too slow for the emulation.
LLMCORE_TEST(cuda_matmul_large) {
    if (device_limits().compute_capability != 90) {
        CHECK(true);  // a test without checks counts as failed
        return;
    }
    std::uint64_t seed = 400;
    for (const Format format : kFormats)
        for (const std::int64_t m : {128, 300}) {
            JobCase glu = plain(200);
            glu.up = glu.bias = glu.residual = true;
            glu.activation = Activation::silu;
            run({format, m, 1024, {plain(256)}, {}}, 0, seed++);
            run({format, m, 1024, {plain(136), plain(40), plain(256)}, {}}, 0, seed++);
            run({format, m, 256, {glu}, {}}, 0, seed++);
        }
    // Long rows and few of them.
    for (const std::int64_t m : {20, 50, 70})
        for (const int multiprocessors : {2, 4, 9, 18}) {
            run({Format::Q8_0, m, 2560, {plain(136)}, {}}, multiprocessors, seed++);
            run({Format::Q4_K, m, 5376, {plain(40)}, {}}, multiprocessors, seed++);
        }
    JobCase glu = plain(136);
    glu.up = glu.bias = true;
    glu.activation = Activation::swiglu_clamped;
    run({Format::MXFP4, 900, 512, {glu}, {0, 300, 300, 301, 900}}, 0, seed++);
    run({Format::Q4_K, 700, 2560, {plain(264)}, {0, 257, 700}}, 0, seed++);
}
