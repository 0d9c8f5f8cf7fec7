#include "cache/cache_folder.h"

#include <sys/stat.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace llmcore {

namespace {

constexpr std::string_view kEnding = ".kv";
// Nobody writes a block for that long.
constexpr std::int64_t kDeadSeconds = 600;
// Names beyond these are not looked at: no folder of ours has so many.
constexpr std::size_t kMostFiles = std::size_t{1} << 22;

std::string hexadecimal(std::uint64_t word) {
    std::array<char, 17> text;
    std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(word));
    return text.data();
}

// 16 digits in lower case, as they are written.
std::optional<std::uint64_t> word_of(std::string_view digits) {
    if (digits.size() != 16) return std::nullopt;
    std::uint64_t word = 0;
    for (const char digit : digits) {
        const bool decimal = digit >= '0' && digit <= '9';
        if (!decimal && !(digit >= 'a' && digit <= 'f')) return std::nullopt;
        word = word << 4 | static_cast<std::uint64_t>(decimal ? digit - '0' : digit - 'a' + 10);
    }
    return word;
}

std::optional<BlockKey> key_of(std::string_view name) {
    if (name.size() != 32 + kEnding.size() || name.substr(32) != kEnding) return std::nullopt;
    const auto high = word_of(name.substr(0, 16));
    const auto low = word_of(name.substr(16, 16));
    if (!high || !low) return std::nullopt;
    return BlockKey{*high, *low};
}

struct Status {
    std::int64_t bytes = 0;
    std::int64_t used = 0;  // nanoseconds
};

std::optional<Status> status_of(const std::filesystem::path& path) {
    struct stat status = {};
    if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
    return Status{status.st_size, status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

void unlink_quietly(const std::filesystem::path& path) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
}

// The names in a folder; what cannot be read has none.
template <class Visit>
void for_each_name(const std::filesystem::path& folder, Visit visit) {
    std::error_code error;
    std::filesystem::directory_iterator place(folder, error);
    for (std::size_t n = 0; !error && place != std::filesystem::directory_iterator() && n < kMostFiles; ++n) {
        visit(place->path());
        place.increment(error);
    }
}

}  // namespace

CacheFolder::CacheFolder(std::filesystem::path folder, std::uint64_t model, std::int64_t file_bytes,
                         std::int64_t limit_bytes)
    : folder_(std::move(folder)),
      model_folder_(folder_ / hexadecimal(model)),
      file_bytes_(file_bytes),
      limit_bytes_(limit_bytes) {
    for (const std::filesystem::path& made : {folder_, model_folder_}) {
        std::error_code error;
        if (std::filesystem::create_directories(made, error))
            std::filesystem::permissions(made, std::filesystem::perms::owner_all, error);
        struct stat status = {};
        if (error || ::stat(made.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
            fail(ErrorCode::invalid_argument, "cache",
                 "the KV cache's folder cannot be used: " + made.string(),
                 error ? error.message() : "no folder", "a folder that can be written to");
        }
    }
    scan();
}

std::filesystem::path CacheFolder::path_of(const BlockKey& key) const {
    return model_folder_ / (hexadecimal(key.high) + hexadecimal(key.low) + std::string(kEnding));
}

void CacheFolder::scan_model(const std::filesystem::path& folder, bool own,
                             std::list<std::pair<std::int64_t, File>>& found) {
    const std::int64_t dead = (std::time(nullptr) - kDeadSeconds) * 1'000'000'000;
    for_each_name(folder, [&](const std::filesystem::path& path) {
        const std::optional<Status> status = status_of(path);
        if (!status) return;
        const std::string name = path.filename().string();
        const std::optional<BlockKey> key = key_of(name);
        if (!key) {
            if (name.ends_with(".tmp") && status->used < dead) unlink_quietly(path);
            return;
        }
        if (own && status->bytes != file_bytes_) {
            unlink_quietly(path);
            return;
        }
        found.emplace_back(status->used, File{path, status->bytes, own, *key});
    });
}

void CacheFolder::scan() {
    std::list<std::pair<std::int64_t, File>> found;
    for_each_name(folder_, [&](const std::filesystem::path& path) {
        std::error_code error;
        const bool is_model =
            word_of(path.filename().string()) &&
            std::filesystem::symlink_status(path, error).type() == std::filesystem::file_type::directory;
        if (is_model) scan_model(path, path == model_folder_, found);
    });
    found.sort([](const auto& a, const auto& b) { return a.first < b.first; });
    files_.clear();
    own_.clear();
    total_bytes_ = 0;
    for (auto& [used, file] : found) {
        total_bytes_ += file.bytes;
        files_.push_back(std::move(file));
        if (files_.back().own) own_.emplace(files_.back().key, std::prev(files_.end()));
    }
}

void CacheFolder::used(const BlockKey& key) {
    const auto found = own_.find(key);
    if (found != own_.end()) {
        files_.splice(files_.end(), files_, found->second);
        return;
    }
    files_.push_back({path_of(key), file_bytes_, true, key});
    own_.emplace(key, std::prev(files_.end()));
    total_bytes_ += file_bytes_;
}

void CacheFolder::forget(std::list<File>::iterator file) {
    unlink_quietly(file->path);
    total_bytes_ -= file->bytes;
    if (file->own) own_.erase(file->key);
    files_.erase(file);
}

void CacheFolder::remove(const BlockKey& key) {
    const auto found = own_.find(key);
    if (found != own_.end()) forget(found->second);
}

bool CacheFolder::make_room(std::vector<BlockKey>& removed) {
    if (file_bytes_ > limit_bytes_) return false;
    while (total_bytes_ + file_bytes_ > limit_bytes_) {
        if (files_.front().own) removed.push_back(files_.front().key);
        forget(files_.begin());
    }
    return true;
}

std::unordered_set<BlockKey> CacheFolder::keys() const {
    std::unordered_set<BlockKey> keys;
    for (const auto& [key, file] : own_) keys.insert(key);
    return keys;
}

}  // namespace llmcore
