// The tiers below the KV cache over an array that stands for a device, so that their promises can be tested
// without a model.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cache/spilled_blocks.h"

namespace py = pybind11;

namespace {

using llmcore::BlockKey;
using llmcore::SpilledBlocks;
using llmcore::SpillOptions;

class KvTiers {
public:
    KvTiers(std::int64_t n_blocks, std::int64_t block_bytes, const SpillOptions& options)
        : block_bytes_(static_cast<std::size_t>(block_bytes)),
          memory_(static_cast<std::size_t>(n_blocks) * block_bytes_),
          tiers_({.block_bytes = block_bytes,
                  .read = [this](std::int32_t block,
                                 std::byte* to) { std::memcpy(to, at(block), block_bytes_); },
                  .write = [this](std::int32_t block,
                                  const std::byte* from) { std::memcpy(at(block), from, block_bytes_); }},
                 1, options) {}
    KvTiers(const KvTiers&) = delete;
    KvTiers& operator=(const KvTiers&) = delete;

    void set(std::int32_t block, const py::bytes& bytes) {
        const auto contents = bytes.cast<std::string>();
        if (contents.size() != block_bytes_) {
            llmcore::fail(llmcore::ErrorCode::invalid_argument, "cache", "contents of a block",
                          std::to_string(contents.size()) + " bytes", std::to_string(block_bytes_));
        }
        std::memcpy(at(block), contents.data(), block_bytes_);
    }
    py::bytes get(std::int32_t block) { return {reinterpret_cast<const char*>(at(block)), block_bytes_}; }
    void leaving(std::int32_t block, std::uint64_t key) { tiers_.leaving(checked(block), {0, key}); }
    bool restore(std::uint64_t key, std::int32_t block) { return tiers_.restore({0, key}, checked(block)); }
    bool keep(std::uint64_t key, std::int32_t block) { return tiers_.keep({1, key}, checked(block), 1); }
    bool restore_kept(std::uint64_t key, std::int32_t block) {
        const bool restored = tiers_.restore({1, key}, checked(block));
        tiers_.forget({1, key});
        return restored;
    }
    // Reads contents from the folder into a block, waiting for them.
    bool fetch(std::uint64_t key, std::int32_t block) {
        checked(block);
        if (!tiers_.fetch({0, key})) return false;
        tiers_.wait_for_arrival(std::chrono::seconds(10));
        const auto arrival = tiers_.next_arrival();
        if (!arrival) return false;
        tiers_.fill(block, *arrival);
        return true;
    }
    void save(const std::vector<std::pair<std::int32_t, std::uint64_t>>& blocks) {
        std::vector<SpilledBlocks::Published> published;
        for (const auto& [block, key] : blocks) published.emplace_back(checked(block), BlockKey{0, key});
        tiers_.save(published, SpilledBlocks::Clock::now() + std::chrono::seconds(10));
    }
    std::vector<std::int64_t> stats() const {
        const llmcore::SpillStats s = tiers_.stats();
        return {s.spilled_ram, s.restored_ram, s.spilled_disk, s.restored_disk};
    }
    std::string warning() const { return tiers_.warning(); }

private:
    std::int32_t checked(std::int32_t block) const {
        if (block < 0 || static_cast<std::size_t>(block) >= memory_.size() / block_bytes_)
            llmcore::fail(llmcore::ErrorCode::invalid_argument, "cache", "no such block");
        return block;
    }
    std::byte* at(std::int32_t block) {
        return memory_.data() + static_cast<std::size_t>(checked(block)) * block_bytes_;
    }

    std::size_t block_bytes_;
    std::vector<std::byte> memory_;
    SpilledBlocks tiers_;
};

}  // namespace

void bind_kv_tiers(py::module_& m) {
    py::class_<KvTiers>(m, "KvTiers", "What KV blocks become that leave the cache.")
        .def(py::init([](std::int64_t n_blocks, std::int64_t block_bytes, std::int64_t ram_bytes,
                         const std::optional<std::filesystem::path>& folder, std::int64_t folder_bytes,
                         std::uint64_t model) {
                 return std::make_unique<KvTiers>(
                     n_blocks, block_bytes,
                     SpillOptions{.ram_bytes = ram_bytes,
                                  .folder = folder.value_or(std::filesystem::path()),
                                  .folder_bytes = folder_bytes,
                                  .model = model});
             }),
             py::arg("n_blocks"), py::arg("block_bytes"), py::kw_only(), py::arg("ram_bytes") = 0,
             py::arg("folder") = py::none(), py::arg("folder_bytes") = SpillOptions{}.folder_bytes,
             py::arg("model") = 0)
        .def("set", &KvTiers::set, py::arg("block"), py::arg("contents"))
        .def("get", &KvTiers::get, py::arg("block"))
        .def("leaving", &KvTiers::leaving, py::arg("block"), py::arg("key"))
        .def("restore", &KvTiers::restore, py::arg("key"), py::arg("block"))
        .def("keep", &KvTiers::keep, py::arg("key"), py::arg("block"))
        .def("restore_kept", &KvTiers::restore_kept, py::arg("key"), py::arg("block"))
        .def("fetch", &KvTiers::fetch, py::arg("key"), py::arg("block"),
             py::call_guard<py::gil_scoped_release>())
        .def("save", &KvTiers::save, py::arg("blocks"), py::call_guard<py::gil_scoped_release>())
        .def_property_readonly("stats", &KvTiers::stats,
                               "Blocks spilled to and restored from memory, then the folder.")
        .def_property_readonly("warning", &KvTiers::warning);
}
