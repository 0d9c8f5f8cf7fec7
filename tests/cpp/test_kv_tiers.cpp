// The tiers below the pool alone: what is believed of files, limits, and what a folder survives.
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "cache/block_file.h"
#include "cache/disk_tier.h"
#include "cache/ram_tier.h"
#include "harness.h"
#include "scratch_folder.h"

namespace llmcore::test {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBlockBytes = 100;
constexpr std::uint64_t kModel = 0xABCDEF0123456789;
constexpr CacheSecret kSecret = {11, 22};

std::vector<std::byte> contents_of(std::uint64_t seed) {
    Random random(seed);
    std::vector<std::byte> bytes(kBlockBytes);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(256));
    return bytes;
}

BlockBytes copy_of(const std::vector<std::byte>& bytes) {
    auto copy = std::make_unique<std::byte[]>(bytes.size());
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    return copy;
}

BlockKey key(std::uint64_t n) { return {n * 0x1234567, n}; }

std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

bool reads(const fs::path& path, const BlockName& name, const CacheSecret& secret = kSecret) {
    std::vector<std::byte> contents(kBlockBytes);
    return read_block_file(path, name, contents, secret);
}

struct Tier {
    explicit Tier(const fs::path& folder, std::int64_t most = 10, std::uint64_t model = kModel)
        : disk({.folder = folder,
                .limit_bytes = most * block_file_bytes(kBlockBytes),
                .model = model,
                .block_bytes = kBlockBytes}) {}

    void store(std::uint64_t n) {
        disk.store({key(n), copy_of(contents_of(n))});
        disk.finish_by(later());
    }
    // Whether the contents come back, and are right.
    bool finds(std::uint64_t n) {
        if (!disk.fetch(key(n))) return false;
        disk.wait_for_arrival(std::chrono::seconds(10));
        const auto arrival = disk.next_arrival();
        if (!arrival) return false;
        const std::vector<std::byte> expected = contents_of(n);
        CHECK(arrival->key == key(n));
        CHECK(std::memcmp(arrival->bytes.get(), expected.data(), expected.size()) == 0);
        return true;
    }
    static DiskTier::Clock::time_point later() { return DiskTier::Clock::now() + std::chrono::seconds(10); }

    DiskTier disk;
};

std::vector<fs::path> block_files(const fs::path& folder) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.path().extension() == ".kv") found.push_back(entry.path());
    return found;
}

int mode_of(const fs::path& path) {
    struct stat status = {};
    return ::stat(path.c_str(), &status) == 0 ? static_cast<int>(status.st_mode & 0777) : -1;
}

}  // namespace

LLMCORE_TEST(kv_ram_tier_gives_up_what_was_used_longest_ago) {
    Random random(3);
    RamTier tier(5);
    std::vector<std::uint64_t> order;  // the least recently used one first
    for (int i = 0; i < 2000; ++i) {
        const std::uint64_t n = random.below(12);
        const auto place = std::find(order.begin(), order.end(), n);
        CHECK(tier.contains(key(n)) == (place != order.end()));
        if (const std::byte* bytes = tier.use(key(n))) {
            CHECK(std::memcmp(bytes, contents_of(n).data(), kBlockBytes) == 0);
            order.erase(place);
            order.push_back(n);
        } else if (random.below(4) == 0) {
            tier.forget(key(n));
        } else {
            const auto gone = tier.make_room();
            CHECK(gone.has_value() == (order.size() == 5));
            if (gone) {
                CHECK(gone->key == key(order.front()));
                order.erase(order.begin());
            }
            tier.add({key(n), copy_of(contents_of(n))});
            order.push_back(n);
        }
        CHECK(tier.size() == static_cast<std::int64_t>(order.size()));
    }
    CHECK(tier.take_newest()->key == key(order.back()));
}

LLMCORE_TEST(kv_block_file_is_believed_only_as_it_was_written) {
    const ScratchFolder folder;
    const fs::path path = folder.path() / "block";
    const BlockName name = {kModel, key(5)};
    const std::vector<std::byte> contents = contents_of(5);
    CHECK(write_block_file(path, name, contents, kSecret).empty());
    CHECK(mode_of(path) == 0600);
    std::vector<std::byte> read(kBlockBytes);
    CHECK(read_block_file(path, name, read, kSecret) && read == contents);
    CHECK(!reads(path, {kModel + 1, key(5)}));
    CHECK(!reads(path, {kModel, key(6)}));
    CHECK(!reads(path, name, {11, 23}));

    const std::string whole = bytes_of(path);
    for (std::size_t i = 0; i < whole.size(); ++i) {
        for (const int bit : {0, 7}) {
            std::string damaged = whole;
            damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
            write_bytes(path, damaged);
            CHECK_MSG(!reads(path, name), "bit " << bit << " of byte " << i);
        }
    }
    for (std::size_t length = 0; length < whole.size(); length += 7) {
        write_bytes(path, whole.substr(0, length));
        CHECK_MSG(!reads(path, name), length << " bytes");
    }
    write_bytes(path, whole + "x");
    CHECK(!reads(path, name));
    write_bytes(path, whole);
    CHECK(reads(path, name));

    const fs::path link = folder.path() / "link";
    fs::create_symlink(path, link);
    CHECK(!reads(link, name));
    fs::create_directory(folder.path() / "directory");
    CHECK(!reads(folder.path() / "directory", name));
    CHECK(::mkfifo((folder.path() / "pipe").c_str(), 0600) == 0);
    CHECK(!reads(folder.path() / "pipe", name));
    CHECK(!reads(folder.path() / "absent", name));
    CHECK(!write_block_file(folder.path() / "no" / "folder", name, contents, kSecret).empty());
}

LLMCORE_TEST(kv_folder_has_one_secret_of_its_owner) {
    const ScratchFolder folder;
    const CacheSecret secret = folder_secret(folder.path());
    CHECK(secret == folder_secret(folder.path()));
    const fs::path path = folder.path() / "secret";
    CHECK(mode_of(path) == 0600);
    const ScratchFolder other;
    CHECK(secret != folder_secret(other.path()));
    fs::permissions(path, fs::perms::owner_all | fs::perms::group_read);
    CHECK_THROWS(ErrorCode::invalid_argument, folder_secret(folder.path()));
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    write_bytes(path, "short");
    CHECK_THROWS(ErrorCode::invalid_argument, folder_secret(folder.path()));
    fs::remove(path);
    fs::create_symlink(other.path() / "secret", path);
    CHECK_THROWS(ErrorCode::invalid_argument, folder_secret(folder.path()));
}

LLMCORE_TEST(kv_disk_tier_survives_its_process_and_keeps_models_apart) {
    const ScratchFolder folder;
    {
        Tier tier(folder.path());
        for (std::uint64_t n = 1; n <= 4; ++n) tier.store(n);
        tier.store(2);
        CHECK(tier.disk.written() == 4);
        CHECK(tier.finds(3));
    }
    Tier again(folder.path());
    for (std::uint64_t n = 1; n <= 4; ++n) CHECK(again.finds(n));
    CHECK(!again.finds(5));
    CHECK(again.disk.read() == 4 && again.disk.read_seconds() > 0);
    Tier other(folder.path(), 10, kModel + 1);
    CHECK(!other.disk.contains(key(1)) && !other.finds(1));
    CHECK(again.disk.warning().empty());
}

LLMCORE_TEST(kv_disk_tier_removes_damaged_files) {
    const ScratchFolder folder;
    {
        Tier tier(folder.path());
        for (std::uint64_t n = 1; n <= 3; ++n) tier.store(n);
    }
    std::vector<fs::path> files = block_files(folder.path());
    CHECK(files.size() == 3);
    write_bytes(files[0], bytes_of(files[0]).substr(0, 80));  // short: gone when the folder is looked at
    std::string damaged = bytes_of(files[1]);
    damaged.back() = static_cast<char>(damaged.back() ^ 1);
    write_bytes(files[1], damaged);  // gone when it is read
    // Names and things that are not ours are left alone.
    const fs::path model = files[0].parent_path();
    write_bytes(model / "notes.txt", "mine");
    fs::create_symlink(files[2], model / (std::string(32, 'a') + ".kv"));

    Tier tier(folder.path());
    int found = 0;
    for (std::uint64_t n = 1; n <= 3; ++n) found += tier.finds(n) ? 1 : 0;
    CHECK(found == 1);
    CHECK(!fs::exists(files[0]) && !fs::exists(files[1]) && fs::exists(files[2]));
    CHECK(fs::exists(model / "notes.txt"));
    for (std::uint64_t n = 1; n <= 3; ++n) tier.store(n);
    for (std::uint64_t n = 1; n <= 3; ++n) CHECK(tier.finds(n));
}

LLMCORE_TEST(kv_disk_tier_stays_within_its_limit) {
    const ScratchFolder folder;
    {
        Tier foreign(folder.path(), 10, kModel + 1);
        for (std::uint64_t n = 1; n <= 2; ++n) foreign.store(n);
    }
    Tier tier(folder.path(), 4);
    for (std::uint64_t n = 1; n <= 4; ++n) tier.store(n);  // other models' files went first
    CHECK(tier.finds(1));
    tier.store(5);  // in the place of 2
    CHECK(block_files(folder.path()).size() == 4);
    CHECK(tier.finds(1) && !tier.finds(2) && tier.finds(3) && tier.finds(4) && tier.finds(5));
    for (std::uint64_t n = 10; n < 40; ++n) tier.store(n);
    CHECK(block_files(folder.path()).size() == 4);
    CHECK(tier.finds(39) && !tier.finds(30));
}

LLMCORE_TEST(kv_disk_tier_outlives_a_folder_that_fails) {
    const ScratchFolder folder;
    Tier tier(folder.path());
    tier.store(1);
    fs::remove_all(folder.path());
    write_bytes(folder.path(), "in the way");
    CHECK(!tier.finds(1));
    tier.store(2);
    CHECK(!tier.disk.contains(key(2)));
    CHECK(tier.disk.warning().find("takes no more blocks for now") != std::string::npos);
    const std::string first = tier.disk.warning();
    CHECK(!tier.disk.store({key(3), copy_of(contents_of(3))}));  // not tried for a while
    CHECK(tier.disk.warning() == first);
    CHECK_THROWS(ErrorCode::invalid_argument, Tier(folder.path()));
}

}  // namespace llmcore::test
