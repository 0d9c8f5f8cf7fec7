#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "cuda/kernels/experts.h"
#include "device_array.h"
#include "harness.h"

namespace llmcore::test {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::size_t size_of(std::int64_t count) { return static_cast<std::size_t>(count); }

struct RouteCase {
    std::int32_t rows, n_experts, n_used;
    bool normalized;
    float scale;
    std::int64_t gap = 0;
};

struct Routing {
    std::vector<std::int32_t> experts, slots, slot_rows, expert_begin;
    std::vector<float> weights;
};

// Twice with the same counter, which must be left as it was found.
Routing run_route(const RouteCase& test, const std::vector<float>& logits) {
    const std::size_t pairs = size_of(test.rows) * size_of(test.n_used);
    DeviceArray<float> device_logits(logits);
    DeviceArray<std::uint32_t> arrived(1);
    arrived.fill(0);
    Routing routing;
    for (int round = 0; round < 2; ++round) {
        DeviceArray<std::int32_t> experts(pairs), slots(pairs), slot_rows(pairs);
        DeviceArray<std::int32_t> expert_begin(size_of(test.n_experts) + 1);
        DeviceArray<float> weights(pairs);
        cuda::route({}, {.logits = device_logits.data(),
                         .logits_stride = test.n_experts + test.gap,
                         .rows = test.rows,
                         .n_experts = test.n_experts,
                         .n_used = test.n_used,
                         .normalized = test.normalized,
                         .scale = test.scale,
                         .experts = experts.data(),
                         .weights = weights.data(),
                         .slots = slots.data(),
                         .slot_rows = slot_rows.data(),
                         .expert_begin = expert_begin.data(),
                         .arrived = arrived.data()});
        routing = {experts.read(), slots.read(), slot_rows.read(), expert_begin.read(), weights.read()};
    }
    return routing;
}

// The n_used largest: numbers before NaN, the first of equals first.
std::vector<std::int32_t> chosen_of(const float* logits, std::int32_t n, std::int32_t n_used) {
    std::vector<std::int32_t> order(size_of(n));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        if (std::isnan(logits[a]) || std::isnan(logits[b]))
            return !std::isnan(logits[a]) && std::isnan(logits[b]);
        return logits[a] > logits[b];
    });
    order.resize(size_of(n_used));
    return order;
}

bool all_finite(const float* logits, std::int32_t n) {
    return std::all_of(logits, logits + n, [](float value) { return std::isfinite(value); });
}

void check_weights(const RouteCase& test, const float* logits, const std::int32_t* chosen,
                   const float* weights) {
    const double largest = logits[chosen[0]];
    double sum = 0.0;
    if (test.normalized)
        for (std::int32_t place = 0; place < test.n_used; ++place)
            sum += std::exp(logits[chosen[place]] - largest);
    else
        for (std::int32_t e = 0; e < test.n_experts; ++e) sum += std::exp(logits[e] - largest);
    for (std::int32_t place = 0; place < test.n_used; ++place) {
        const double expected = std::exp(logits[chosen[place]] - largest) / sum * test.scale;
        CHECK_MSG(std::fabs(weights[place] - expected) <= 2e-6 * expected + 1e-30,
                  "place " << place << ": " << weights[place] << " for " << expected);
    }
}

void check_route(const RouteCase& test, const std::vector<float>& logits) {
    const Routing routing = run_route(test, logits);
    const std::int64_t stride = test.n_experts + test.gap;
    bool right_experts = true;
    for (std::int64_t row = 0; row < test.rows; ++row) {
        const float* of_row = logits.data() + row * stride;
        const std::int32_t* experts = routing.experts.data() + row * test.n_used;
        const std::vector<std::int32_t> expected = chosen_of(of_row, test.n_experts, test.n_used);
        right_experts &= std::equal(expected.begin(), expected.end(), experts);
        if (right_experts && all_finite(of_row, test.n_experts))
            check_weights(test, of_row, experts, routing.weights.data() + row * test.n_used);
    }
    CHECK_MSG(right_experts,
              "rows " << test.rows << " experts " << test.n_experts << " used " << test.n_used);

    std::vector<std::int32_t> order(routing.experts.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return routing.experts[size_of(a)] < routing.experts[size_of(b)];
    });
    int wrong = 0;
    for (std::size_t slot = 0; slot < order.size(); ++slot) {
        wrong += routing.slots[size_of(order[slot])] == static_cast<std::int32_t>(slot) ? 0 : 1;
        wrong += routing.slot_rows[slot] == order[slot] / test.n_used ? 0 : 1;
    }
    for (std::int32_t expert = 0; expert <= test.n_experts; ++expert) {
        const auto before = std::count_if(routing.experts.begin(), routing.experts.end(),
                                          [&](std::int32_t other) { return other < expert; });
        wrong += routing.expert_begin[size_of(expert)] == before ? 0 : 1;
    }
    CHECK_MSG(wrong == 0, "rows " << test.rows << " experts " << test.n_experts << ": " << wrong << " wrong");
}

void check_random_route(const RouteCase& test, bool with_ties) {
    Random random(static_cast<std::uint64_t>(test.rows * 1000 + test.n_experts));
    std::vector<float> logits(size_of(test.rows * (test.n_experts + test.gap)));
    for (float& logit : logits)
        logit = with_ties ? static_cast<float>(random.below(5)) - 2.0F : 3.0F * random.normal();
    check_route(test, logits);
}

}  // namespace

LLMCORE_TEST(cuda_experts_route) {
    check_random_route({1, 1, 1, true, 1.0F}, false);
    check_random_route({1, 8, 2, false, 1.0F}, false);
    check_random_route({1, 128, 8, true, 1.0F}, false);
    check_random_route({3, 60, 4, false, 2.5F, 1}, false);
    check_random_route({33, 32, 4, true, 1.0F}, false);
    check_random_route({70, 65, 6, true, 0.5F, 3}, true);
    check_random_route({100, 129, 32, false, 1.0F}, true);
    check_random_route({50, 256, 8, true, 2.5F}, false);
    check_random_route({40, 512, 10, true, 1.0F}, false);
    check_random_route({17, 511, 10, false, 1.0F}, true);
    check_random_route({5, 7, 7, true, 1.0F}, true);
}

LLMCORE_TEST(cuda_experts_route_of_many_rows) {
    check_random_route({1500, 16, 2, true, 1.0F}, false);
    check_random_route({1031, 128, 8, true, 1.0F}, true);
}

LLMCORE_TEST(cuda_experts_route_of_uncommon_logits) {
    constexpr std::int32_t n = 40;
    std::vector<float> logits;
    const auto add_row = [&](float fill) {
        logits.resize(logits.size() + size_of(n), fill);
        return logits.data() + logits.size() - size_of(n);
    };
    add_row(0.0F)[3] = -0.0F;
    add_row(-0.0F)[35] = 0.0F;
    add_row(kNan);
    add_row(kNan)[39] = 1.0F;
    add_row(-kInfinity);
    float* row = add_row(-kInfinity);
    row[0] = kNan;
    row[20] = kInfinity;
    row[39] = -1.0F;
    row = add_row(-1e30F);
    row[5] = row[37] = 1e30F;
    const RouteCase test = {static_cast<std::int32_t>(logits.size()) / n, n, 4, true, 1.0F};
    check_route(test, logits);
    cuda::RouteArgs wrong = {};
    wrong.rows = 1;
    wrong.n_experts = cuda::kMostExperts + 1;
    CHECK_THROWS(ErrorCode::internal, cuda::route({}, wrong));
    wrong.n_experts = 4;
    wrong.n_used = 5;
    CHECK_THROWS(ErrorCode::internal, cuda::route({}, wrong));
}

LLMCORE_TEST(cuda_experts_combine) {
    Random random(3);
    for (const std::int64_t width : {1, 6, 64, 1024, 1027, 2880}) {
        for (const int kind : {0, 1, 2}) {  // of residual: none, other, in place
            const std::int64_t rows = 5;
            const std::int64_t n_used = 3;
            const std::int64_t out_stride = width + (kind == 1 ? 3 : 4);
            const auto floats = [&](std::int64_t count) {
                std::vector<float> values(size_of(count));
                for (float& value : values) value = random.normal();
                return values;
            };
            const std::vector<float> down = floats(rows * n_used * width);
            const std::vector<float> weights = floats(rows * n_used);
            const std::vector<float> residual = floats(rows * out_stride);
            std::vector<std::int32_t> slots(size_of(rows * n_used));
            for (std::size_t i = 0; i < slots.size(); ++i)
                slots[i] = static_cast<std::int32_t>(i * 7 % slots.size());
            DeviceArray<float> device_down(down), device_weights(weights), device_residual(residual);
            DeviceArray<float> poisoned(residual.size());
            DeviceArray<std::int32_t> device_slots(slots);
            DeviceArray<float>& out = kind == 2 ? device_residual : poisoned;
            cuda::combine_experts({}, {.down_rows = device_down.data(),
                                       .down_stride = width,
                                       .weights = device_weights.data(),
                                       .slots = device_slots.data(),
                                       .residual = kind == 0 ? nullptr : device_residual.data(),
                                       .out = out.data(),
                                       .out_stride = out_stride,
                                       .rows = static_cast<std::int32_t>(rows),
                                       .n_used = static_cast<std::int32_t>(n_used),
                                       .width = static_cast<std::int32_t>(width)});
            const std::vector<float> result = out.read();
            for (std::int64_t row = 0; row < rows; ++row) {
                std::vector<double> expected(size_of(width));
                for (std::int64_t i = 0; i < width; ++i) {
                    double& sum = expected[size_of(i)];
                    sum = kind == 0 ? 0.0 : static_cast<double>(residual[size_of(row * out_stride + i)]);
                    for (std::int64_t pair = row * n_used; pair < (row + 1) * n_used; ++pair)
                        sum += static_cast<double>(weights[size_of(pair)]) *
                               down[size_of(slots[size_of(pair)] * width + i)];
                }
                const float* got = result.data() + row * out_stride;
                CHECK(relative_error(got, expected.data(), size_of(width)) < 1e-6);
                for (std::int64_t i = width; i < out_stride; ++i)
                    CHECK(kind == 2 ? got[i] == residual[size_of(row * out_stride + i)] : std::isnan(got[i]));
            }
        }
    }
}

}  // namespace llmcore::test
