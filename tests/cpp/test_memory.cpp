#include "base/memory.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "harness.h"

namespace llmcore::test {

LLMCORE_TEST(arena_allocations_are_zeroed_aligned_and_apart) {
    PageArena arena;
    constexpr std::size_t kMegabyte = std::size_t{1} << 20;
    struct Taken {
        std::byte* data;
        std::size_t bytes;
    };
    std::vector<Taken> taken;
    // Beyond the first mappings, one that is larger than the next, and many that are small.
    for (const std::size_t bytes : {1 * kMegabyte, std::size_t{1}, 31 * kMegabyte, 100 * kMegabyte,
                                    std::size_t{0}, std::size_t{63}, 3 * kMegabyte + 1, std::size_t{4096}})
        taken.push_back({arena.take(bytes), bytes});
    for (std::size_t i = 0; i < taken.size(); ++i) {
        const auto [data, bytes] = taken[i];
        CHECK(reinterpret_cast<std::uintptr_t>(data) % 64 == 0);
        if (bytes == 0) continue;
        CHECK(data[0] == std::byte{0} && data[bytes - 1] == std::byte{0} && data[bytes / 2] == std::byte{0});
        data[0] = data[bytes - 1] = static_cast<std::byte>(i + 1);
    }
    for (std::size_t i = 0; i < taken.size(); ++i)
        if (taken[i].bytes > 0)
            CHECK(taken[i].data[0] == static_cast<std::byte>(i + 1) &&
                  taken[i].data[taken[i].bytes - 1] == static_cast<std::byte>(i + 1));
    std::sort(taken.begin(), taken.end(), [](const Taken& a, const Taken& b) { return a.data < b.data; });
    for (std::size_t i = 1; i < taken.size(); ++i)
        CHECK(taken[i - 1].data + taken[i - 1].bytes <= taken[i].data);
}

LLMCORE_TEST(arena_allocations_begin_at_their_place_in_a_page) {
    PageArena arena;
    for (const std::size_t place :
         {std::size_t{32}, std::size_t{4064}, std::size_t{0}, std::size_t{96}, std::size_t{31}}) {
        for (const std::size_t bytes : {std::size_t{100}, std::size_t{5000}, std::size_t{3} << 20}) {
            std::byte* data = arena.take_at(bytes, place);
            CHECK(reinterpret_cast<std::uintptr_t>(data) % 4096 == place);
            // No other's: those are marked at both ends.
            for (const std::size_t i : {std::size_t{0}, bytes - 1}) {
                CHECK(data[i] == std::byte{0});
                data[i] = std::byte{1};
            }
        }
    }
}

}  // namespace llmcore::test
