// What a warp does together: shuffles, votes, matrix products (fragments as in the PTX ISA, 9.7.14); and how
// misuse is reported.
#include "cuda/emulation/simt_emulation.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace llmcore::cuda {

namespace emulation {

namespace {

constexpr uint32_t kAll = 0xFFFFFFFFU;

// A lane that is not there gives poison.
void exchange(Lane* lanes, uint32_t arrived) {
    for (int lane = 0; lane < 32; ++lane) {
        if ((arrived >> lane & 1U) == 0) continue;
        const int source = lanes[lane].source;
        lanes[lane].result = (arrived >> source & 1U) != 0 ? lanes[source].value : ~uint64_t{0};
    }
}

void vote(Lane* lanes, uint32_t arrived) {
    uint32_t votes = 0;
    for (int lane = 0; lane < 32; ++lane)
        if ((arrived >> lane & 1U) != 0 && lanes[lane].value != 0) votes |= 1U << lane;
    for (int lane = 0; lane < 32; ++lane)
        if ((arrived >> lane & 1U) != 0) lanes[lane].result = votes;
}

// Registers of a lane of an mma: four of a, two of b.
using Operands = uint32_t[6];

using Floats [[gnu::vector_size(16)]] = float;

// d += a b for 16 x K times K x 8. Products and sums of int8 are exact in float.
template <class Element, int K>
void add_product(Lane* lanes, const float (&a)[16][K], const float (&b)[K][8]) {
    for (int row = 0; row < 16; ++row) {
        Floats low = {};
        Floats high = {};
        for (int k = 0; k < K; ++k) {
            Floats b_low;
            Floats b_high;
            std::memcpy(&b_low, &b[k][0], sizeof(b_low));
            std::memcpy(&b_high, &b[k][4], sizeof(b_high));
            low += a[row][k] * b_low;
            high += a[row][k] * b_high;
        }
        for (int col = 0; col < 8; ++col) {
            Element& d = static_cast<Element*>(lanes[row % 8 * 4 + col / 2].output)[row / 8 * 2 + col % 2];
            const float sum = col < 4 ? low[col] : high[col - 4];
            if constexpr (std::is_same_v<Element, float>)
                d += sum;
            else  // wraps around
                d = static_cast<int32_t>(static_cast<uint32_t>(d) +
                                         static_cast<uint32_t>(static_cast<int32_t>(sum)));
        }
    }
}

void multiply_s8(Lane* lanes, uint32_t) {
    float a[16][32];
    float b[32][8];
    for (int lane = 0; lane < 32; ++lane) {
        int8_t bytes[6][4];
        std::memcpy(bytes, lanes[lane].input, sizeof(bytes));
        const int g = lane / 4;
        for (int i = 0; i < 4; ++i) {
            const int k = lane % 4 * 4 + i;
            a[g][k] = bytes[0][i];
            a[g + 8][k] = bytes[1][i];
            a[g][k + 16] = bytes[2][i];
            a[g + 8][k + 16] = bytes[3][i];
            b[k][g] = bytes[4][i];
            b[k + 16][g] = bytes[5][i];
        }
    }
    add_product<int32_t>(lanes, a, b);
}

template <float (*to_float)(uint16_t)>
void multiply_16_bit(Lane* lanes, uint32_t) {
    float a[16][16];
    float b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        uint16_t halves[6][2];
        std::memcpy(halves, lanes[lane].input, sizeof(halves));
        const int g = lane / 4;
        for (int i = 0; i < 2; ++i) {
            const int k = lane % 4 * 2 + i;
            a[g][k] = to_float(halves[0][i]);
            a[g + 8][k] = to_float(halves[1][i]);
            a[g][k + 8] = to_float(halves[2][i]);
            a[g + 8][k + 8] = to_float(halves[3][i]);
            b[k][g] = to_float(halves[4][i]);
            b[k + 8][g] = to_float(halves[5][i]);
        }
    }
    add_product<float>(lanes, a, b);
}

template <bool transposed>
void load(Lane* lanes, uint32_t) {
    for (int matrix = 0; matrix < 4; ++matrix) {
        uint16_t elements[8][8];
        for (int row = 0; row < 8; ++row) std::memcpy(elements[row], lanes[matrix * 8 + row].input, 16);
        for (int lane = 0; lane < 32; ++lane) {
            const int major = lane / 4;
            const int minor = lane % 4 * 2;
            const uint32_t low = transposed ? elements[minor][major] : elements[major][minor];
            const uint32_t high = transposed ? elements[minor + 1][major] : elements[major][minor + 1];
            static_cast<uint32_t*>(lanes[lane].output)[matrix] = low | high << 16;
        }
    }
}

constexpr Collective kSyncWarp = {"__syncwarp", nullptr, false};
constexpr Collective kShuffle = {"a shuffle", exchange, false};
constexpr Collective kVote = {"a vote", vote, false};
constexpr Collective kMmaS8 = {"mma_s8", multiply_s8, true};
constexpr Collective kMmaBf16 = {"mma_bf16", multiply_16_bit<bf16_to_float>, true};
constexpr Collective kMmaF16 = {"mma_f16", multiply_16_bit<half_to_float>, true};
constexpr Collective kLoad = {"load_matrices", load<false>, true};
constexpr Collective kLoadTransposed = {"load_matrices_transposed", load<true>, true};

void meet_with(const Collective& collective, const void* input, void* output) {
    Lane mine;
    mine.input = input;
    mine.output = output;
    meet(collective, kAll, mine);
}

}  // namespace

uint64_t shuffle(uint32_t mask, uint64_t bits, int source) {
    Lane mine;
    mine.value = bits;
    mine.source = source & 31;
    return meet(kShuffle, mask, mine);
}

void stop(const char* format, ...) {
    std::fprintf(stderr, "[cuda emulation] block (%u, %u, %u), thread %u: ", blockIdx.x, blockIdx.y,
                 blockIdx.z, threadIdx.x);
    va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fputc('\n', stderr);
    std::abort();
}

void check_shared_row(const char* what, const void* row) {
    const auto at = reinterpret_cast<uintptr_t>(row);
    const auto begin = reinterpret_cast<uintptr_t>(shared_begin);
    if (at % 16 != 0) stop("%s: unaligned shared address %p", what, row);
    if (at < begin || at + 16 > begin + shared_bytes) stop("%s: %p is not in shared memory", what, row);
}

}  // namespace emulation

void __syncwarp(uint32_t mask) { emulation::meet(emulation::kSyncWarp, mask, {}); }

uint32_t __ballot_sync(uint32_t mask, int predicate) {
    emulation::Lane mine;
    mine.value = predicate != 0 ? 1 : 0;
    return static_cast<uint32_t>(emulation::meet(emulation::kVote, mask, mine));
}

void mma_s8(int32_t (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    const emulation::Operands words = {a0, a1, a2, a3, b0, b1};
    emulation::meet_with(emulation::kMmaS8, words, d);
}

void mma_bf16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    const emulation::Operands words = {a0, a1, a2, a3, b0, b1};
    emulation::meet_with(emulation::kMmaBf16, words, d);
}

void mma_f16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    const emulation::Operands words = {a0, a1, a2, a3, b0, b1};
    emulation::meet_with(emulation::kMmaF16, words, d);
}

void load_matrices(uint32_t (&d)[4], const void* shared_row) {
    emulation::check_shared_row("load_matrices", shared_row);
    emulation::meet_with(emulation::kLoad, shared_row, d);
}

void load_matrices_transposed(uint32_t (&d)[4], const void* shared_row) {
    emulation::check_shared_row("load_matrices_transposed", shared_row);
    emulation::meet_with(emulation::kLoadTransposed, shared_row, d);
}

}  // namespace llmcore::cuda
