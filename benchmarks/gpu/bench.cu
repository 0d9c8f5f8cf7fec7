// The CUDA backend against the device's own limits, in one run, without Python:
//   llmcore_gpu_bench ceilings
//   llmcore_gpu_bench kernels
//   llmcore_gpu_bench attention
//   llmcore_gpu_bench model SHAPE QUANT FILE [KV [DEPTHS]]
//   llmcore_gpu_bench profile FILE BATCH DEPTH (one decode step between cudaProfilerStart and -Stop, for ncu)
// `model` writes FILE if it is not there. KV: f16, f32 or q8_0; DEPTHS: tokens before the decoding that is
// timed, such as 128,8192.
// Every line of standard output is a JSON object. A product is checked before its time is printed.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <cuda_profiler_api.h>

#include "attention_bench.h"
#include "backend/loader.h"
#include "base/error.h"
#include "cuda/device.h"
#include "cuda/kernels/gemv.h"
#include "cuda/kernels/rows.h"
#include "cuda/packed/repack.h"
#include "cuda/stream.h"
#include "gguf/reader.h"
#include "model/decoder.h"
#include "model_file.h"
#include "quant/format_table.h"
#include "quant/quantize.h"
#include "timing.h"

namespace llmcore::bench {

namespace {

using namespace llmcore::cuda;

struct ReadArgs {
    const uint4* from;
    int64_t count;
    uint32_t* out;
};

__global__ void __launch_bounds__(512, 4) read_kernel(const ReadArgs args) {
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    uint32_t sum = 0;
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (; i + 7 * stride < args.count; i += 8 * stride) {
        uint4 v[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = __ldcs(args.from + i + j * stride);
#pragma unroll
        for (int j = 0; j < 8; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (sum == 0x12345678U) *args.out = sum;
}

double read_bandwidth(const Stream& stream) {
    const int64_t bytes = INT64_C(4) << 30;
    auto* memory = static_cast<unsigned char*>(device_alloc(static_cast<std::size_t>(bytes)));
    auto* out = static_cast<uint32_t*>(device_alloc(4));
    fill_device(memory, 0x5A, static_cast<std::size_t>(bytes), stream);
    double best = 0.0;
    for (const unsigned blocks : {1U, 2U, 4U}) {
        const LaunchShape shape = {.grid_x = 132 * blocks, .threads = 512};
        const double seconds = device_seconds(stream, 2, [&](int) {
            launch(stream, read_kernel, shape,
                   ReadArgs{reinterpret_cast<const uint4*>(memory), bytes / 16, out});
        });
        best = std::max(best, static_cast<double>(bytes) / seconds);
    }
    const double copy = device_seconds(stream, 2, [&](int) {
        check(cudaMemcpyAsync(memory + bytes / 2, memory, static_cast<std::size_t>(bytes / 2),
                              cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream.handle)),
              "copy");
    });
    std::printf("{\"test\":\"ceiling\",\"what\":\"read\",\"gb_s\":%.0f}\n", best / 1e9);
    std::printf("{\"test\":\"ceiling\",\"what\":\"copy\",\"gb_s\":%.0f}\n",
                static_cast<double>(bytes) / copy / 1e9);
    device_free(memory);
    device_free(out);
    return best;
}

struct Case {
    Format format;
    std::int64_t n, k;
    bool gated;
};

// Times one product for every number of rows; weights rotate among copies that do not fit the cache together.
void time_product(const Stream& stream, const Case& test, double ceiling) {
    const DeviceLimits limits = device_limits();
    const Packing packing = packing_of(test.format);
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    const std::int64_t matrices = test.gated ? 2 : 1;
    const std::int64_t source_bytes = row_bytes(test.format, test.k);
    // A few rows' values, repeated: what is checked is the arithmetic, not the randomness.
    const std::int64_t distinct = 64;
    std::vector<float> rows(static_cast<std::size_t>(distinct * test.k));
    for (float& value : rows) value = normal(random);
    std::vector<std::uint8_t> blocks(static_cast<std::size_t>(test.n * source_bytes));
    std::vector<float> values(rows.size());
    for (std::int64_t row = 0; row < test.n; ++row) {
        std::uint8_t* to = blocks.data() + row * source_bytes;
        if (row < distinct) {
            quantize(test.format, rows.data() + row * test.k, to, test.k);
            dequantize(test.format, to, values.data() + row * test.k, test.k);
        } else {
            std::memcpy(to, blocks.data() + row % distinct * source_bytes,
                        static_cast<std::size_t>(source_bytes));
        }
    }
    const std::int64_t bytes = packed_bytes(packing, test.n, test.k);
    const auto copies =
        static_cast<int>(std::max<std::int64_t>(2, (INT64_C(256) << 20) / (matrices * bytes)));
    auto* raw = device_alloc(blocks.size());
    copy_to_device(raw, blocks.data(), blocks.size(), stream);
    auto* packed =
        static_cast<unsigned char*>(device_alloc(static_cast<std::size_t>(copies * matrices * bytes)));
    for (std::int64_t i = 0; i < copies * matrices; ++i)
        repack_device(stream, test.format, raw, test.n, test.k, packed + i * bytes);
    const std::int64_t most = 2048;
    std::vector<float> x(static_cast<std::size_t>(most * test.k));
    for (float& value : x) value = normal(random);
    auto* input = static_cast<float*>(device_alloc(x.size() * 4));
    copy_to_device(input, x.data(), x.size() * 4, stream);
    auto* out = static_cast<float*>(device_alloc(static_cast<std::size_t>(most * test.n) * 4));
    auto* form = static_cast<unsigned char*>(device_alloc(
        static_cast<std::size_t>(most * ((test.k + 255) / 256 * 256) * 2 + 8 * q8_row_bytes(test.k))));
    const std::size_t workspace_bytes = matmul_workspace_bytes(limits);
    auto* workspace = device_alloc(workspace_bytes);
    fill_device(workspace, 0, workspace_bytes, stream);
    // The kernels' own choice, and for few rows also the other kind: where the one overtakes the other.
    struct Rows {
        std::int64_t m;
        bool tensor_cores;
    };
    const Rows all_rows[] = {{1, false}, {2, false}, {4, false}, {4, true},   {8, false},  {8, true},
                             {16, true}, {32, true}, {64, true}, {128, true}, {512, true}, {2048, true}};
    for (const auto [m, tensor_cores] : all_rows) {
        if (m > 64 && test.n > 100000) continue;
        const auto args_of = [&](int copy) {
            MatmulArgs args = {};
            args.jobs[0].weight = packed + copy * matrices * bytes;
            if (test.gated) {
                args.jobs[0].up = args.jobs[0].weight + bytes;
                args.jobs[0].activation = Activation::silu;
            }
            args.jobs[0].out = out;
            args.jobs[0].out_stride = static_cast<std::int32_t>(test.n);
            args.jobs[0].n = static_cast<std::int32_t>(test.n);
            args.n_jobs = 1;
            args.m = static_cast<std::int32_t>(m);
            args.k = static_cast<std::int32_t>(test.k);
            args.workspace = workspace;
            return args;
        };
        const bool few = !tensor_cores && m <= gemv_rows(limits, packing, test.k);
        const PackInput pack = {.rows = input,
                                .stride = test.k,
                                .norm_weight = nullptr,
                                .norm_eps = 0.0F,
                                .k = static_cast<std::int32_t>(test.k)};
        const auto prepare = [&] {
            if (few && m > kFusedPackRows) pack_q8_rows(stream, pack, static_cast<std::int32_t>(m), form);
            if (!few)
                pack_bf16_rows(stream, {.x = input,
                                        .x_stride = test.k,
                                        .norm_weight = nullptr,
                                        .source_rows = nullptr,
                                        .live_rows = nullptr,
                                        .out = reinterpret_cast<uint16_t*>(form),
                                        .m = static_cast<std::int32_t>(m),
                                        .k = static_cast<std::int32_t>(test.k),
                                        .norm_eps = 0.0F});
        };
        const auto run = [&](int i) {
            const MatmulArgs args = args_of(i % copies);
            if (few)
                gemv(stream, limits, packing,
                     {.matmul = args, .input = pack, .packed = m > kFusedPackRows ? form : nullptr});
            else
                matmul_bf16(stream, limits, packing, args, reinterpret_cast<const uint16_t*>(form));
        };
        fill_device(out, 0xFF, static_cast<std::size_t>(m * test.n) * 4, stream);
        prepare();
        run(0);
        std::vector<float> result(static_cast<std::size_t>(m * test.n));
        copy_to_host(result.data(), out, result.size() * 4, stream);
        wait_for(stream);
        double difference = 0.0, norm = 0.0;
        for (std::int64_t row = 0; row < m; row += std::max<std::int64_t>(1, m / 5))
            for (std::int64_t column = 0; column < test.n; column += test.n / 61) {
                double sum = 0.0;
                for (std::int64_t c = 0; c < test.k; ++c)
                    sum += static_cast<double>(x[static_cast<std::size_t>(row * test.k + c)]) *
                           values[static_cast<std::size_t>(column % distinct * test.k + c)];
                if (test.gated) sum = sum / (1.0 + std::exp(-sum)) * sum;
                const double got = result[static_cast<std::size_t>(row * test.n + column)];
                difference += (got - sum) * (got - sum);
                norm += sum * sum;
            }
        const double error = std::sqrt(difference / norm);
        const char* format = format_info(test.format).name;
        if (!(error < (test.gated ? 2.4e-2 : 1.2e-2))) {
            std::printf("{\"test\":\"kernel\",\"format\":\"%s\",\"m\":%d,\"n\":%d,\"k\":%d,\"wrong\":%g}\n",
                        format, static_cast<int>(m), static_cast<int>(test.n), static_cast<int>(test.k),
                        error);
            continue;
        }
        const double seconds = device_seconds(stream, m > 64 ? 4 : 40, run);
        const double read = static_cast<double>(matrices * bytes);
        const double flops = 2.0 * static_cast<double>(m * test.n * test.k * matrices);
        std::printf(
            "{\"test\":\"kernel\",\"kind\":\"%s\",\"format\":\"%s\",\"gated\":%d,\"m\":%d,\"n\":%d,\"k\":%d,"
            "\"us\":%.2f,"
            "\"gb_s\":%.0f,\"of_read\":%.3f,\"tflop_s\":%.1f,\"error\":%.1e}\n",
            few ? "gemv" : "matmul", format, test.gated, static_cast<int>(m), static_cast<int>(test.n),
            static_cast<int>(test.k), seconds * 1e6, read / seconds / 1e9, read / seconds / ceiling,
            flops / seconds / 1e12, error);
        std::fflush(stdout);
    }
    device_free(raw);
    device_free(packed);
    device_free(input);
    device_free(out);
    device_free(form);
    device_free(workspace);
}

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A decoder with `batch` sequences; steps are made by hand, so that what is timed is the backend.
class ModelRun {
public:
    ModelRun(const std::string& path, Format kv, std::int64_t max_step, std::int64_t blocks)
        : blocks_(blocks) {
        const gguf::File file = gguf::File::open(path);
        const ModelSpec spec = read_model_spec(file, 0);
        n_vocab_ = spec.n_vocab;
        decoder_ = std::make_unique<Decoder>(
            file, spec, TensorFormats(), load_backend("cuda", {.threads = 1}).backend,
            DecoderLimits{.max_step_tokens = max_step, .max_logit_rows = 64});
        decoder_->alloc_kv(kv, blocks);
    }

    // Whether `batch` sequences of so many tokens have room.
    bool holds(std::int64_t batch, std::int64_t tokens) const {
        return (tokens + 31) / 32 <= blocks_ / batch;
    }

    // One step: `tokens` more of each of `batch` sequences that hold `depth`; logits of the last rows.
    void step(std::int64_t batch, std::int64_t tokens, std::int64_t depth) {
        const std::int64_t per_sequence = blocks_ / batch;
        tokens_.clear(), positions_.clear(), starts_.assign(1, 0), lens_.clear(), table_.clear(),
            rows_.clear();
        for (std::int64_t s = 0; s < batch; ++s) {
            for (std::int64_t i = 0; i < tokens; ++i) {
                tokens_.push_back(static_cast<std::int32_t>((s * 7919 + (depth + i) * 104729) % n_vocab_));
                positions_.push_back(static_cast<std::int32_t>(depth + i));
            }
            starts_.push_back(static_cast<std::int32_t>(tokens_.size()));
            rows_.push_back(starts_.back() - 1);
            lens_.push_back(static_cast<std::int32_t>(depth + tokens));
            if (!holds(batch, depth + tokens)) fail(ErrorCode::internal, "bench", "too few KV blocks");
            for (std::int64_t b = 0; b < (depth + tokens + 31) / 32; ++b)
                table_.push_back(static_cast<std::int32_t>(s * per_sequence + b));
        }
        const Batch made = {.tokens = tokens_,
                            .positions = positions_,
                            .row_starts = starts_,
                            .kv_lens = lens_,
                            .block_table = table_,
                            .block_table_stride = (depth + tokens + 31) / 32,
                            .logit_rows = rows_};
        const std::span<const float> logits = decoder_->forward(made);
        for (std::size_t i = 0; i < logits.size(); i += 997)
            if (!std::isfinite(logits[i])) fail(ErrorCode::internal, "bench", "logits are not finite");
    }

private:
    std::int64_t blocks_, n_vocab_ = 0;
    std::unique_ptr<Decoder> decoder_;
    std::vector<std::int32_t> tokens_, positions_, starts_, lens_, table_, rows_;
};

struct ModelCase {
    std::string shape, quant, path;
    Format kv = Format::F16;
    std::vector<std::int64_t> depths = {128};
};

// Of "128,8192".
std::vector<std::int64_t> read_depths(const std::string& text) {
    std::vector<std::int64_t> depths;
    for (std::size_t at = 0; at <= text.size(); at = text.find(',', at) + 1) {
        char* end = nullptr;
        const long long depth = std::strtoll(text.c_str() + at, &end, 10);
        if (depth < 1 || depth > 1 << 20 || (*end != ',' && *end != '\0'))
            fail(ErrorCode::invalid_argument, "bench", "depths", text, "such as 128,8192");
        depths.push_back(depth);
        if (*end == '\0') break;
    }
    return depths;
}

ModelCase read_case(int argc, char** argv) {
    ModelCase given = {.shape = argv[2], .quant = argv[3], .path = argv[4]};
    if (argc > 5) {
        const FormatInfo* kv = find_format(argv[5]);
        if (kv == nullptr)
            fail(ErrorCode::invalid_argument, "bench", "KV format", argv[5], "f16, f32 or q8_0");
        given.kv = kv->format;
    }
    if (argc > 6) given.depths = read_depths(argv[6]);
    return given;
}

void time_decode(ModelRun& run, const ModelCase& given, std::int64_t batch, std::int64_t depth,
                 double streamed, double ceiling) {
    constexpr std::int64_t kSteps = 48;
    const char* setting = std::getenv("LLMCORE_CUDA_GRAPHS");
    const bool graphs = setting == nullptr || std::strcmp(setting, "0") != 0;
    if (!run.holds(batch, depth + kSteps)) return;
    const std::int64_t chunk = 2048 / batch;
    for (std::int64_t done = 0; done < depth; done += chunk)
        run.step(batch, std::min(chunk, depth - done), done);
    std::vector<double> times;
    for (std::int64_t i = 0; i < kSteps; ++i) {
        const double start = now();
        run.step(batch, 1, depth + i);
        if (i >= 8) times.push_back(now() - start);
    }
    const double seconds = median(times);
    std::printf(
        "{\"test\":\"decode\",\"model\":\"%s\",\"quant\":\"%s\",\"kv\":\"%s\",\"graphs\":%d,\"batch\":%d,"
        "\"depth\":%d,\"tok_s\":%.1f,\"ms\":%.3f,\"weight_gb_s\":%.0f,\"of_read\":%.3f}\n",
        given.shape.c_str(), given.quant.c_str(), format_info(given.kv).name, graphs, static_cast<int>(batch),
        static_cast<int>(depth), static_cast<double>(batch) / seconds, seconds * 1e3,
        streamed / seconds / 1e9, streamed / seconds / ceiling);
    std::fflush(stdout);
}

void time_model(const ModelCase& given, double ceiling) {
    const ModelShape shape = find_shape(given.shape);
    if (!std::filesystem::exists(given.path)) write_model(given.path, shape, given.quant);
    const auto streamed = static_cast<double>(streamed_bytes(shape, given.quant));
    const std::int64_t deepest = *std::max_element(given.depths.begin(), given.depths.end());
    const double loading = now();
    ModelRun run(given.path, given.kv, 2048, std::max<std::int64_t>(64 * 48, (deepest + 79) / 32));
    std::printf("{\"test\":\"load\",\"model\":\"%s\",\"quant\":\"%s\",\"seconds\":%.2f}\n",
                given.shape.c_str(), given.quant.c_str(), now() - loading);
    for (const std::int64_t depth : given.depths)
        for (const std::int64_t batch : {1, 2, 4, 8, 16, 32, 64})
            time_decode(run, given, batch, depth, streamed, ceiling);
    for (const std::int64_t tokens : {512, 2048, 8192}) {
        std::vector<double> times;
        for (int i = 0; i < 4; ++i) {
            const double start = now();
            for (std::int64_t done = 0; done < tokens; done += 2048)
                run.step(1, std::min<std::int64_t>(2048, tokens - done), done);
            if (i > 0) times.push_back(now() - start);
        }
        const double seconds = median(times);
        std::printf(
            "{\"test\":\"prefill\",\"model\":\"%s\",\"quant\":\"%s\",\"kv\":\"%s\",\"tokens\":%d,"
            "\"tok_s\":%.0f,\"ms\":%.1f}\n",
            given.shape.c_str(), given.quant.c_str(), format_info(given.kv).name, static_cast<int>(tokens),
            static_cast<double>(tokens) / seconds, seconds * 1e3);
        std::fflush(stdout);
    }
}

void profile_step(const std::string& path, std::int64_t batch, std::int64_t depth) {
    ModelRun run(path, Format::F16, 2048, batch * ((depth + 8) / 32 + 1));
    const std::int64_t chunk = 2048 / batch;
    for (std::int64_t done = 0; done < depth; done += chunk)
        run.step(batch, std::min(chunk, depth - done), done);
    for (std::int64_t i = 0; i < 3; ++i) run.step(batch, 1, depth + i);
    check(cudaProfilerStart(), "profiler");
    run.step(batch, 1, depth + 3);
    check(cudaProfilerStop(), "profiler");
}

int run(int argc, char** argv) {
    const std::string what = argc > 1 ? argv[1] : "";
    if (what == "write" && argc == 5) {
        write_model(argv[4], find_shape(argv[2]), argv[3]);
        return 0;
    }
    if (what == "profile" && argc == 5) {
        profile_step(argv[2], std::atoll(argv[3]), std::atoll(argv[4]));
        return 0;
    }
    use_device(0);
    const DeviceLimits limits = device_limits();
    const Stream stream = make_stream();
    std::printf("{\"test\":\"device\",\"name\":\"%s\",\"multiprocessors\":%d}\n", limits.name,
                limits.multiprocessors);
    const double ceiling = read_bandwidth(stream);
    if (what == "kernels") {
        const Format formats[] = {Format::Q4_0, Format::Q4_K, Format::Q6_K, Format::Q8_0, Format::BF16};
        for (const Format format : formats) {
            time_product(stream, {format, 4096, 4096, false}, ceiling);
            time_product(stream, {format, 14336, 4096, true}, ceiling);
            time_product(stream, {format, 4096, 14336, false}, ceiling);
            if (format == Format::Q6_K || format == Format::Q4_0)
                time_product(stream, {format, 128256, 4096, false}, ceiling);
        }
    } else if (what == "attention") {
        time_attention(stream, limits.multiprocessors, ceiling);
    } else if (what == "model" && argc >= 5 && argc <= 7) {
        time_model(read_case(argc, argv), ceiling);
    } else if (what != "ceilings") {
        std::fprintf(stderr,
                     "llmcore_gpu_bench ceilings | kernels | attention | model SHAPE QUANT FILE [KV "
                     "[DEPTHS]] | profile "
                     "FILE BATCH DEPTH | write SHAPE QUANT FILE\n");
        return 2;
    }
    return 0;
}

}  // namespace

}  // namespace llmcore::bench

int main(int argc, char** argv) {
    try {
        return llmcore::bench::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "llmcore_gpu_bench: %s\n", error.what());
        return 1;
    }
}
