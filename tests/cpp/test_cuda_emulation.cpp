// The emulation of CUDA is itself tested: kernels that are right give right results under every order of
// threads, and planted mistakes are found.
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "cuda/device.h"
#include "harness.h"

#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace llmcore::cuda {

namespace {

using test::Random;

constexpr uint64_t kSeeds = 8;

struct SumArgs {
    const float* in;
    float* out;
    int n;
    bool with_barrier;
};

// The sum of each block's 256 numbers.
SIMT_GLOBAL void SIMT_BOUNDS(256, 1) block_sum(SumArgs args) {
    auto* const of_warp = reinterpret_cast<float*>(shared_memory());
    const int at = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    float sum = at < args.n ? args.in[at] : 0.0F;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(kFullWarp, sum, step);
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = sum;
    if (args.with_barrier) __syncthreads();
    if (threadIdx.x < kWarp) {
        float all = threadIdx.x < blockDim.x / kWarp ? of_warp[threadIdx.x] : 0.0F;
        for (unsigned step = 16; step > 0; step /= 2) all += __shfl_down_sync(kFullWarp, all, step);
        if (threadIdx.x == 0) args.out[blockIdx.x] = all;
    }
}

// How many of the blocks' sums are wrong.
int wrong_sums(bool with_barrier) {
    constexpr int n = 5 * 256 + 37;
    constexpr int blocks = 6;
    std::vector<float> in(n);
    for (int i = 0; i < n; ++i) in[static_cast<size_t>(i)] = static_cast<float>(i % 97);
    std::vector<float> out(blocks, -1.0F);
    launch({}, block_sum, {.grid_x = blocks, .threads = 256, .shared_bytes = 8 * sizeof(float)},
           SumArgs{in.data(), out.data(), n, with_barrier});
    int wrong = 0;
    for (int block = 0; block < blocks; ++block) {
        float expected = 0.0F;
        for (int i = block * 256; i < n && i < block * 256 + 256; ++i) expected += in[static_cast<size_t>(i)];
        wrong += out[static_cast<size_t>(block)] == expected ? 0 : 1;
    }
    return wrong;
}

struct CountArgs {
    int* sum;
    unsigned long long* largest;
    float* total;
    unsigned* visits;
    int n;
};

SIMT_GLOBAL void count(CountArgs args) {
    const int block = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
    const int at = block * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
    if (at >= args.n) return;
    ++args.visits[at];
    atomicAdd(args.sum, at);
    atomicAdd(args.total, 0.5F);
    atomicMax(args.largest, static_cast<unsigned long long>(at) << 32);
}

struct MmaArgs {
    const void* a;  // [16][K]
    const void* b;  // [8][K]: b's columns
    void* d;        // [16][8]
    int kind;       // 0 int8, 1 bf16, 2 f16
    bool load;      // a through load_matrices, b through load_matrices_transposed (16 bits only)
};

// Fragments as the manual's formulas have them; a lane's word i holds columns (or rows of b) next to each
// other.
SIMT_GLOBAL void multiply(MmaArgs args) {
    const int lane = static_cast<int>(threadIdx.x);
    const int group = lane >> 2;
    const int in_group = lane % 4;
    const auto* a = static_cast<const uint32_t*>(args.a);  // rows of 8 words in both kinds
    const auto* b = static_cast<const uint32_t*>(args.b);
    uint32_t fa[4] = {a[group * 8 + in_group], a[(group + 8) * 8 + in_group], a[group * 8 + in_group + 4],
                      a[(group + 8) * 8 + in_group + 4]};
    uint32_t fb[4] = {b[group * 8 + in_group], b[group * 8 + in_group + 4], 0, 0};
    if (args.load) {
        auto* const tile = shared_memory();  // a [16][16], then b as rows [16][8]
        for (int i = lane; i < 32; i += kWarp) copy_async16(tile + i * 16, a + i * 4);
        copy_async_commit();
        copy_async_wait<0>();
        auto* const rows = reinterpret_cast<uint16_t*>(tile + 512);
        const auto* columns = static_cast<const uint16_t*>(args.b);
        for (int i = lane; i < 128; i += kWarp) rows[i] = columns[i % 8 * 16 + i / 8];
        __syncwarp();
        load_matrices(fa, tile + (lane % 16) * 32 + lane / 16 * 16);
        load_matrices_transposed(fb, tile + 512 + lane % 16 * 16);
    }
    const int d0 = group * 8 + in_group * 2;
    const int at[4] = {d0, d0 + 1, d0 + 64, d0 + 65};
    if (args.kind == 0) {
        int32_t d[4];
        for (int i = 0; i < 4; ++i) d[i] = static_cast<int32_t*>(args.d)[at[i]];
        mma_s8(d, fa[0], fa[1], fa[2], fa[3], fb[0], fb[1]);
        for (int i = 0; i < 4; ++i) static_cast<int32_t*>(args.d)[at[i]] = d[i];
        return;
    }
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = static_cast<float*>(args.d)[at[i]];
    if (args.kind == 1) mma_bf16(d, fa[0], fa[1], fa[2], fa[3], fb[0], fb[1]);
    if (args.kind == 2) mma_f16(d, fa[0], fa[1], fa[2], fa[3], fb[0], fb[1]);
    for (int i = 0; i < 4; ++i) static_cast<float*>(args.d)[at[i]] = d[i];
}

struct CopyArgs {
    const uint32_t* in;
    uint32_t* out;
    bool wait;
    int bytes;
};

SIMT_GLOBAL void copy_through_shared(CopyArgs args) {
    auto* const shared = reinterpret_cast<uint32_t*>(shared_memory());
    copy_async16(shared, args.in, args.bytes);
    copy_async_commit();
    copy_async16(shared + 4, args.in + 4);
    copy_async_commit();
    if (args.wait) copy_async_wait<1>();
    for (int i = 0; i < 8; ++i) args.out[i] = shared[i];
    copy_async_wait<0>();
    for (int i = 0; i < 8; ++i) args.out[8 + i] = shared[i];
}

struct LaneArgs {
    uint32_t* out;  // [5][32]
};

// Half warps in collectives of their own, and a lane that has left.
SIMT_GLOBAL void half_warps(LaneArgs args) {
    const uint32_t lane = threadIdx.x;
    if (lane == 31) return;
    uint32_t own = lane;
    if (lane < 16) {
        own = __shfl_sync(0xFFFFU, lane * 10, 3);
        own += __shfl_up_sync(0xFFFFU, lane, 1, 8);
    }
    args.out[lane] = own;
    args.out[32 + lane] = __ballot_sync(kFullWarp, lane % 3 == 0 ? 1 : 0);
    args.out[64 + lane] = static_cast<uint32_t>(__any_sync(kFullWarp, lane == 40 ? 1 : 0)) * 2 +
                          static_cast<uint32_t>(__all_sync(kFullWarp, lane < 31 ? 1 : 0));
    args.out[96 + lane] = static_cast<uint32_t>(__shfl_xor_sync(kFullWarp, uint64_t{lane} << 33, 1) >> 33);
    args.out[128 + lane] = __shfl_down_sync(kFullWarp, lane, 2, 4);
}

struct MeetingArgs {
    float* values;  // of each block
    float* out;
    uint32_t* arrived;
    const float* in;
    bool meets;
};

// Each block copies a number in bulk, and takes its neighbour's when all have theirs.
SIMT_GLOBAL void SIMT_BOUNDS(64, 1) take_neighbours(MeetingArgs args) {
    auto* const barrier = reinterpret_cast<uint64_t*>(shared_memory());
    auto* const copied = reinterpret_cast<float*>(shared_memory() + 16);
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        barrier_arrive_expecting(barrier, 16);
        copy_bulk(copied, args.in + 4 * blockIdx.x, 16, barrier);
    }
    __syncthreads();
    barrier_wait(barrier, 0);
    if (threadIdx.x == 63) args.values[blockIdx.x] = copied[0];
    __syncthreads();
    if (args.meets && threadIdx.x == 0) {
        arrive_at_grid(args.arrived);
        wait_for_grid(args.arrived, gridDim.x);
    }
    __syncthreads();
    if (threadIdx.x == 0) args.out[blockIdx.x] = args.values[(blockIdx.x + 1) % gridDim.x];
}

int wrong_neighbours(bool meets) {
    alignas(16) const float in[16] = {1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0};
    float values[4] = {};
    float out[4] = {};
    uint32_t arrived = 0;
    launch({}, take_neighbours, {.grid_x = 4, .threads = 64, .shared_bytes = 32, .cooperative = true},
           MeetingArgs{values, out, &arrived, in, meets});
    int wrong = 0;
    for (int block = 0; block < 4; ++block) wrong += out[block] == in[4 * ((block + 1) % 4)] ? 0 : 1;
    return wrong;
}

struct MistakeArgs {
    int kind;
};

SIMT_GLOBAL void make_a_mistake(MistakeArgs args) {
    const uint32_t lane = threadIdx.x;
    if (args.kind == 0 && lane < 16) __syncthreads();
    if (args.kind == 0 && lane >= 16) __syncwarp();
    if (args.kind == 1 && lane < 16) __syncwarp();
    if (args.kind == 1 && lane >= 16) static_cast<void>(__ballot_sync(kFullWarp, 1));
    if (args.kind == 2) copy_async16(shared_memory() + 4, &args);
    if (args.kind == 3) static_cast<void>(__shfl_sync(lane < 16 ? 0xFFFFU : kFullWarp, lane, 0));
    if (args.kind == 3 && lane < 16) __syncthreads();
    if (args.kind == 4) static_cast<void>(__shfl_sync(0xFFFFU, lane, 0));
    auto* const barrier = reinterpret_cast<uint64_t*>(shared_memory());
    if (args.kind >= 5 && lane == 0) {
        alignas(16) static const uint32_t numbers[4] = {};
        barrier_init(barrier, 1);
        if (args.kind == 5) barrier_wait(barrier, 0);  // for no copy
        barrier_arrive_expecting(barrier, args.kind == 6 ? 32 : 16);
        copy_bulk(shared_memory() + (args.kind == 7 ? 24 : 16), numbers, 16, barrier);
        if (args.kind != 8) barrier_wait(barrier, 0);  // 8: ends before its copy
        if (args.kind == 9) wait_for_grid(reinterpret_cast<uint32_t*>(shared_memory() + 16), 1);
    }
}

#if defined(__linux__)
bool aborts(int kind) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
        launch({}, make_a_mistake, {.threads = 32, .shared_bytes = 64}, MistakeArgs{kind});
        _exit(0);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && status != 0;
}
#endif

}  // namespace

LLMCORE_TEST(cuda_emulation_block_sum_needs_its_barrier) {
    int wrong_without = 0;
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
        set_emulation_seed(seed);
        CHECK(wrong_sums(true) == 0);
        wrong_without += wrong_sums(false);
    }
    CHECK(wrong_without > 0);
    set_emulation_seed(1);
}

LLMCORE_TEST(cuda_emulation_blocks_that_meet) {
    int wrong_without = 0;
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
        set_emulation_seed(seed);
        CHECK(wrong_neighbours(true) == 0);
        wrong_without += wrong_neighbours(false);
    }
    CHECK(wrong_without > 0);
    set_emulation_seed(1);
}

LLMCORE_TEST(cuda_emulation_runs_every_thread_of_every_block_once) {
    constexpr int n = 11 * 256 + 3;
    std::vector<unsigned> visits(n, 0);
    int sum = 0;
    float total = 0.0F;
    unsigned long long largest = 0;
    launch({}, count, {.grid_x = 3, .grid_y = 2, .grid_z = 2, .threads = 256},
           CountArgs{&sum, &largest, &total, visits.data(), n});
    CHECK(sum == n * (n - 1) / 2);
    CHECK(total == 0.5F * n);
    CHECK(largest == static_cast<unsigned long long>(n - 1) << 32);
    for (const unsigned visit : visits) CHECK(visit == 1);
}

LLMCORE_TEST(cuda_emulation_mma) {
    Random random(7);
    alignas(16) int8_t a8[16][32];
    alignas(16) int8_t b8[8][32];
    for (auto& row : a8)
        for (auto& value : row) value = static_cast<int8_t>(random.next());
    for (auto& row : b8)
        for (auto& value : row) value = static_cast<int8_t>(random.next());
    int32_t d8[16][8] = {{100}};
    launch({}, multiply, {.threads = 32}, MmaArgs{a8, b8, d8, 0, false});
    for (int row = 0; row < 16; ++row)
        for (int col = 0; col < 8; ++col) {
            int32_t expected = row == 0 && col == 0 ? 100 : 0;
            for (int k = 0; k < 32; ++k) expected += a8[row][k] * b8[col][k];
            CHECK_MSG(d8[row][col] == expected, "row " << row << " column " << col);
        }
    for (const int kind : {1, 2})
        for (const bool load : {false, true}) {
            alignas(16) uint16_t a[16][16];
            alignas(16) uint16_t b[8][16];
            const auto store = [&](float value) {
                return kind == 1 ? float_to_bf16(value) : float_to_half_bits(value);
            };
            const auto value_of = [&](uint16_t bits) {
                return kind == 1 ? bf16_to_float(bits) : half_to_float(bits);
            };
            for (auto& row : a)
                for (auto& value : row) value = store(random.normal());
            for (auto& row : b)
                for (auto& value : row) value = store(random.normal());
            float d[16][8] = {{3.0F}};
            launch({}, multiply, {.threads = 32, .shared_bytes = 768}, MmaArgs{a, b, d, kind, load});
            for (int row = 0; row < 16; ++row)
                for (int col = 0; col < 8; ++col) {
                    double expected = row == 0 && col == 0 ? 3.0 : 0.0;
                    for (int k = 0; k < 16; ++k)
                        expected += static_cast<double>(value_of(a[row][k])) * value_of(b[col][k]);
                    CHECK_MSG(std::fabs(d[row][col] - expected) < 1e-4, "kind " << kind << " load " << load);
                }
        }
}

LLMCORE_TEST(cuda_emulation_copies_arrive_in_their_wait) {
    alignas(16) uint32_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const uint32_t poison = 0xFFFFFFFFU;
    uint32_t out[16];
    launch({}, copy_through_shared, {.threads = 1, .shared_bytes = 32}, CopyArgs{in, out, true, 16});
    CHECK(out[0] == 1 && out[3] == 4 && out[4] == poison && out[7] == poison);
    CHECK(out[8] == 1 && out[11] == 4 && out[12] == 5 && out[15] == 8);
    launch({}, copy_through_shared, {.threads = 1, .shared_bytes = 32}, CopyArgs{in, out, false, 4});
    CHECK(out[0] == poison && out[3] == poison && out[8] == 1 && out[9] == 0 && out[11] == 0 && out[15] == 8);
}

LLMCORE_TEST(cuda_emulation_lanes) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
        set_emulation_seed(seed);
        uint32_t out[160] = {};
        launch({}, half_warps, {.threads = 32}, LaneArgs{out});
        for (uint32_t lane = 0; lane < 31; ++lane) {
            CHECK(out[lane] == (lane < 16 ? 30 + (lane % 8 == 0 ? lane : lane - 1) : lane));
            CHECK(out[32 + lane] == (0x49249249U & 0x7FFFFFFFU));
            CHECK(out[64 + lane] == 1);
            CHECK(lane == 30 || out[96 + lane] == (lane ^ 1U));
            CHECK(lane == 29 || out[128 + lane] == (lane % 4 < 2 ? lane + 2 : lane));
        }
    }
    set_emulation_seed(1);
}

LLMCORE_TEST(cuda_emulation_mistakes_abort) {
#if defined(__linux__)
    for (int kind = 0; kind < 10; ++kind) CHECK_MSG(aborts(kind), "kind " << kind);
#endif
    CHECK(true);
}

LLMCORE_TEST(cuda_emulation_refuses_bad_shapes) {
    CHECK_THROWS(ErrorCode::internal, launch({}, make_a_mistake, {.threads = 1025}, MistakeArgs{-1}));
    CHECK_THROWS(ErrorCode::internal, launch({}, make_a_mistake, {.grid_x = 0}, MistakeArgs{-1}));
    CHECK_THROWS(ErrorCode::internal,
                 launch({}, make_a_mistake, {.shared_bytes = 228 << 10}, MistakeArgs{-1}));
    CHECK_THROWS(ErrorCode::internal,
                 launch({}, make_a_mistake, {.grid_x = 5, .cooperative = true}, MistakeArgs{-1}));
}

LLMCORE_TEST(cuda_emulation_16_bit_floats) {
    CHECK(float_to_half_bits(1.0F) == 0x3C00 && float_to_half_bits(-65504.0F) == 0xFBFF);
    CHECK(float_to_half_bits(65520.0F) == 0x7C00 && float_to_half_bits(0x1p-24F) == 1);
    CHECK(float_to_half_bits(0x1p-25F) == 0 && float_to_half_bits(-0x1.8p-25F) == 0x8001);
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<uint16_t>(bits);
        if ((bits & 0x7FFFU) <= 0x7C00U) CHECK(float_to_half_bits(half_to_float(half)) == half);
        if ((bits & 0x7FFFU) <= 0x7F80U) CHECK(float_to_bf16(bf16_to_float(half)) == half);
    }
    // 192 * 174 is a tie, which 2^-40 decides; rounding to float first would lose that.
    const uint16_t a = float_to_bf16(192.0F);
    const uint16_t b = float_to_bf16(174.0F);
    CHECK(bf16x2_mul(a, b) == float_to_bf16(33280.0F));
    CHECK(bf16x2_fma(a, b, float_to_bf16(0x1p-40F)) == float_to_bf16(33536.0F));
    CHECK(bf16x2_fma(a, b, float_to_bf16(-0x1p-40F)) == float_to_bf16(33280.0F));
    CHECK(bf16x2_sub(0x3F81, float_to_bf16(-0x1p-8F)) == 0x3F82);
    CHECK((bf16x2_sub(pack_bf16x2(1.0F, 3.0F), pack_bf16x2(-2.0F, 1.0F))) == pack_bf16x2(3.0F, 2.0F));
    CHECK((bf16x2_mul(pack_bf16x2(1.5F, 3.0F), pack_bf16x2(-2.0F, 0.5F))) == pack_bf16x2(-3.0F, 1.5F));
}

LLMCORE_TEST(cuda_emulation_integer_words) {
    CHECK(__dp4a(0x01FF02FE, 0x03040506, 10) == 10 + 3 - 4 + 10 - 12);
    CHECK(__byte_perm(0x03020100, 0x07060504, 0x7531) == 0x07050301U);
    CHECK(__byte_perm(0x03020180, 0, 0x0918) == 0x800001FFU);
    CHECK(__clz(1) == 31 && __clz(0) == 32 && __ffs(0) == 0 && __ffs(8) == 4 && __popc(0xF0F) == 8);
    CHECK(__float2int_rn(2.5F) == 2 && __float2int_rn(-3.5F) == -4 && __float2int_rn(1e20F) == INT32_MAX);
    int value = 5;
    CHECK(atomicCAS(&value, 5, 6) == 5 && atomicExch(&value, 9) == 6 && atomicMax(&value, 3) == 9 &&
          value == 9);
    CHECK(min(3, -4) == -4 && max(2.0F, NAN) == 2.0F);
}

}  // namespace llmcore::cuda
