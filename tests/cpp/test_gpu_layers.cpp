// How many layers a GPU gets: what may be asked for, what a model takes of a device, and how many fit.
#include "engine/gpu_layers.h"

#include <limits>
#include <string>

#include "cache/kv_sizing.h"
#include "split_models.h"

namespace llmcore::test {

namespace {

constexpr std::int64_t kMiB = 1024 * 1024;

// 10 layers of 100 MiB and 20 MiB of cache each, embedding and head of 300 MiB.
GpuSizing sizing(std::int64_t free_mib) {
    GpuSizing model;
    model.need.layers.assign(10, 100 * kMiB);
    model.need.embedding = model.need.head = 300 * kMiB;
    model.need.activations = 80 * kMiB;
    model.split_activation_bytes = 40 * kMiB;
    model.kv_layer_bytes = 20 * kMiB;
    model.free_bytes = free_mib * kMiB;
    return model;
}

}  // namespace

LLMCORE_TEST(gpu_layers_that_may_be_asked_for) {
    CHECK(parse_gpu_layers("auto") == kAutoGpuLayers && parse_gpu_layers("-1") == kAutoGpuLayers);
    CHECK(parse_gpu_layers("all") == kAllGpuLayers);
    CHECK(parse_gpu_layers("0") == 0 && parse_gpu_layers("12") == 12);
    for (const char* text :
         {"", "-2", "-", "1.5", "12 ", " 12", "+3", "ALL", "True", "0x10", "99999999999999999999"})
        CHECK_THROWS(ErrorCode::invalid_argument, parse_gpu_layers(text));
    CHECK(checked_gpu_layers(kAutoGpuLayers, 5) == kAutoGpuLayers);
    CHECK(checked_gpu_layers(kAllGpuLayers, 5) == 5);
    CHECK(checked_gpu_layers(0, 5) == 0 && checked_gpu_layers(5, 5) == 5);
    CHECK(checked_gpu_layers(99, 5) == 5);
    CHECK(checked_gpu_layers(std::numeric_limits<std::int64_t>::max() - 2, 5) == 5);
    CHECK_THROWS(ErrorCode::invalid_argument, checked_gpu_layers(-3, 5));
}

LLMCORE_TEST(gpu_layers_as_many_as_fit) {
    CHECK(fitting_gpu_layers(sizing(0)) == 0);
    CHECK(fitting_gpu_layers(sizing(700)) == 0);  // head, margin, activations and a layer: a little more
    CHECK(fitting_gpu_layers(sizing(20'000)) == 10);
    std::int64_t before = 0;
    for (std::int64_t free = 0; free < 4000; free += 10) {
        const std::int64_t n = fitting_gpu_layers(sizing(free));
        CHECK(n >= before && n <= 10);
        // What is chosen fits: weights, cache, activations.
        if (n > 0) CHECK(300 + n * 120 + (n == 10 ? 300 + 80 : 40) < free);
        before = n;
    }
    CHECK(before == 10);
    // The embedding and the larger steps are asked for with the last layer only.
    const auto least = [](std::int64_t n) {
        std::int64_t free = 0;
        while (fitting_gpu_layers(sizing(free)) < n) ++free;
        return free;
    };
    CHECK(least(9) - least(8) < 140 && least(10) - least(9) > 400);
}

LLMCORE_TEST(gpu_layers_leave_room_for_what_is_not_weights) {
    const std::int64_t free = 1500;
    const std::int64_t n = fitting_gpu_layers(sizing(free));
    CHECK(n > 2 && n < 9);
    GpuSizing more_cache = sizing(free), staged = sizing(free), busy = sizing(free), uneven = sizing(free);
    more_cache.kv_layer_bytes *= 5;
    CHECK(fitting_gpu_layers(more_cache) < n);
    staged.need.largest_weight = 500 * kMiB;  // before there is a cache, and so not beside it
    CHECK(fitting_gpu_layers(staged) < n);
    staged.need.largest_weight = kMiB;
    CHECK(fitting_gpu_layers(staged) == n);
    busy.split_activation_bytes = 400 * kMiB;
    CHECK(fitting_gpu_layers(busy) < n);
    // The last layers count, not the first.
    for (std::int64_t layer = 0; layer < 10 - n; ++layer)
        uneven.need.layers[static_cast<std::size_t>(layer)] *= 9;
    CHECK(fitting_gpu_layers(uneven) == n);
    // Sizes beyond 64 bits do not wrap around.
    GpuSizing huge = sizing(free);
    huge.kv_layer_bytes = std::numeric_limits<std::int64_t>::max();
    huge.need.layers.assign(1000, std::numeric_limits<std::int64_t>::max() / 2);
    CHECK(fitting_gpu_layers(huge) == 0);
    CHECK(fitting_gpu_layers({}) == 0);
}

LLMCORE_TEST(gpu_layers_are_measured_as_a_model_asks_for_them) {
    for (const Model& model : kSplitModels) {
        const gguf::File file = ModelImage(model).open();
        const ModelSpec spec = read_model_spec(file, 0);
        const auto device = cpu(Isa::scalar);
        const auto probe = std::make_shared<MemoryProbe>(device, spec.layers.size());
        const Decoder counted(file, spec, {}, probe, {.max_step_tokens = 128, .max_logit_rows = 128});
        const auto decoder = decoder_over(file, device, Format::F16);
        const MemoryNeed& need = probe->need();
        CHECK(need.activations == decoder->activation_bytes());
        std::int64_t bytes = need.embedding + need.head;
        for (const std::int64_t layer : need.layers) {
            CHECK(layer > 0 && layer == need.layers.front());
            bytes += layer;
        }
        // Frequencies, which are no tensors of the file, beside the weights.
        const std::int64_t frequencies = bytes - decoder->weight_bytes();
        CHECK(frequencies > 0 && frequencies <= 4 * model.head_dim);
        // A tied embedding is the head, which counts for any layer.
        CHECK((need.embedding == 0) == !model.has_output);
        CHECK(need.largest_weight > 0 && need.largest_weight < bytes);
        CHECK_THROWS(ErrorCode::internal, probe->begin({}));
    }
}

LLMCORE_TEST(gpu_layers_are_told_in_a_line) {
    CHECK(describe_placement(0, 3, "cpu", "") == "all 3 layers on cpu");
    CHECK(describe_placement(3, 3, "", "cuda (X)") == "all 3 layers on cuda (X)");
    CHECK(describe_placement(1, 3, "cpu", "cuda (X)") ==
          "the last layer of 3 and the head on cuda (X), the embedding and the first 2 layers on cpu");
}

LLMCORE_TEST(kv_room_of_layers_in_two_memories) {
    // The cache has a third of its layers in 300 of 900 bytes: as if all had 900.
    const KvRoom rooms[] = {{.layers = 2, .available_bytes = 4000, .budget_bytes = 1000},
                            {.layers = 1, .available_bytes = 900, .budget_bytes = 300}};
    const KvRoom all = room_for_all(rooms);
    CHECK(all.layers == 3 && all.available_bytes == 2700 && all.budget_bytes == 900);
    const KvRoom host[] = {rooms[0], {.layers = 0, .available_bytes = 0, .budget_bytes = 0}};
    CHECK(room_for_all(host).available_bytes == 4000 && room_for_all(host).budget_bytes == 1000);
    const KvRoom none[] = {rooms[0], {.layers = 1, .available_bytes = 0, .budget_bytes = 0}};
    CHECK(room_for_all(none).available_bytes == 0);
}

}  // namespace llmcore::test
