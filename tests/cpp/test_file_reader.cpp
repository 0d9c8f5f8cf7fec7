#include "base/file_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/memory.h"
#include "harness.h"

namespace llmcore::test {

namespace {

// A file of bytes that tell where they stand, on a disk where there is one.
class NumberedFile {
public:
    explicit NumberedFile(std::size_t size) : bytes_(size) {
        for (std::size_t i = 0; i < size; ++i) bytes_[i] = static_cast<std::byte>((i * 2654435761U) >> 13);
        std::string name = std::filesystem::temp_directory_path() / "llmcore-reader-XXXXXX";
        const int fd = ::mkstemp(name.data());
        path_ = name;
        CHECK(fd >= 0 && ::write(fd, bytes_.data(), size) == static_cast<ssize_t>(size));
        ::fsync(fd);
        ::close(fd);
    }
    ~NumberedFile() { std::filesystem::remove(path_); }
    NumberedFile(const NumberedFile&) = delete;
    NumberedFile& operator=(const NumberedFile&) = delete;

    int open() const { return ::open(path_.c_str(), O_RDONLY | O_CLOEXEC); }
    const std::filesystem::path& path() const { return path_; }
    const std::vector<std::byte>& bytes() const { return bytes_; }

    // Has the system forget what it holds, but for the first bytes.
    void forget(std::size_t kept) const {
        const int fd = open();
        ::posix_fadvise(fd, static_cast<off_t>(kept), 0, POSIX_FADV_DONTNEED);
        ::close(fd);
    }

private:
    std::filesystem::path path_;
    std::vector<std::byte> bytes_;
};

void check_reads(const NumberedFile& file, const FileReader& reader, std::size_t place_off) {
    const std::size_t size = file.bytes().size();
    for (const std::size_t offset : {std::size_t{0}, std::size_t{32}, std::size_t{4096}, std::size_t{70'001}})
        for (const std::size_t count :
             {std::size_t{1}, std::size_t{8191}, std::size_t{100'000}, size - offset}) {
            PageArena arena;
            std::byte* target = arena.take_at(count + 1, (offset + place_off) % FileReader::kPage);
            file.forget(count / 2);
            reader.read(static_cast<std::int64_t>(offset), {target, count});
            CHECK(std::equal(target, target + count,
                             file.bytes().begin() + static_cast<std::ptrdiff_t>(offset)));
            CHECK(target[count] == std::byte{0});
        }
}

}  // namespace

LLMCORE_TEST(file_reader_reads_what_is_cached_and_what_is_not) {
    const NumberedFile file(1'000'003);
    const FileReader reader(file.open());
    check_reads(file, reader, 0);
    check_reads(file, reader, 100);  // at another place in the page: never straight from the disk
}

LLMCORE_TEST(file_reader_notices_a_file_that_was_shortened) {
    const NumberedFile file(100'000);
    const FileReader reader(file.open());
    PageArena arena;
    std::byte* target = arena.take(100'000);
    file.forget(0);
    CHECK_THROWS(ErrorCode::gguf, reader.read(4096, {target, 100'000}));
    std::filesystem::resize_file(file.path(), 50'000);
    CHECK_THROWS(ErrorCode::gguf, reader.read(0, {target, 100'000}));
    CHECK(std::equal(target, target + 50'000, file.bytes().begin()));
    const FileReader folder(::open("/", O_RDONLY | O_CLOEXEC));
    CHECK_THROWS(ErrorCode::gguf, folder.read(0, {target, 10}));
}

}  // namespace llmcore::test
