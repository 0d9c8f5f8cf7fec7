#include "cache/block_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/random_word.h"
#include "cache/siphash.h"

namespace llmcore {

namespace {

// Integers are those of the machine: a file moved to one of the other kind fails its checksum.
struct Header {
    char magic[8];
    std::uint32_t version;
    std::uint32_t header_bytes;
    std::uint64_t model;
    std::uint64_t key_high;
    std::uint64_t key_low;
    std::uint64_t contents_bytes;
    std::uint64_t checksum;  // of the fields before and the contents
    std::uint64_t reserved;
};
static_assert(sizeof(Header) == 64);

constexpr char kMagic[8] = {'l', 'l', 'm', 'c', 'o', 'r', 'e', 'K'};
constexpr std::uint32_t kVersion = 1;

bool write_all(int fd, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return true;
}

bool read_all(int fd, std::span<std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::read(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return true;
}

void absorb(SipState& state, std::span<const std::byte> bytes) {
    for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
        std::uint64_t word;
        std::memcpy(&word, bytes.data(), 8);
        state.absorb(word);
    }
    std::uint64_t last = bytes.size() << 56;
    std::memcpy(&last, bytes.data(), bytes.size());
    state.absorb(last);
}

std::uint64_t checksum(const Header& header, std::span<const std::byte> contents, const CacheSecret& secret) {
    SipState state(secret[0] ^ 2, secret[1]);  // names of blocks are made with other keys
    absorb(state, std::as_bytes(std::span(&header, 1)).first(offsetof(Header, checksum)));
    absorb(state, contents);
    return state.finish();
}

Header header_of(const BlockName& name, std::span<const std::byte> contents, const CacheSecret& secret) {
    Header header = {};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.header_bytes = sizeof(Header);
    header.model = name.model;
    header.key_high = name.key.high;
    header.key_low = name.key.low;
    header.contents_bytes = contents.size();
    header.checksum = checksum(header, contents, secret);
    return header;
}

std::string failure(const char* what, const std::filesystem::path& path, int error) {
    return std::string("cannot ") + what + ' ' + path.string() + ": " + std::strerror(error);
}

// A name beside `path` that nobody else is likely to use; two who do fail, and write nothing.
std::filesystem::path temporary_beside(const std::filesystem::path& path) {
    std::filesystem::path temporary = path;
    temporary += '.' + std::to_string(std::random_device()()) + ".tmp";
    return temporary;
}

// `publish` makes the name of the file that was written. An empty string, or what went wrong.
template <class Publish>
std::string write_new_file(const std::filesystem::path& path,
                           std::initializer_list<std::span<const std::byte>> parts, Publish publish) {
    const std::filesystem::path temporary = temporary_beside(path);
    Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return failure("create", temporary, errno);
    bool written = true;
    for (const auto part : parts) written = written && write_all(file.get(), part);
    written = written && file.close();
    const int error = errno;
    if (written && publish(temporary)) return {};
    const int last_error = written ? errno : error;
    ::unlink(temporary.c_str());
    return failure("write", path, last_error);
}

}  // namespace

std::int64_t block_file_bytes(std::int64_t contents) {
    return static_cast<std::int64_t>(sizeof(Header)) + contents;
}

std::string write_block_file(const std::filesystem::path& path, const BlockName& name,
                             std::span<const std::byte> contents, const CacheSecret& secret) {
    const Header header = header_of(name, contents, secret);
    return write_new_file(path, {std::as_bytes(std::span(&header, 1)), contents},
                          [&](const std::filesystem::path& temporary) {
                              return ::rename(temporary.c_str(), path.c_str()) == 0;
                          });
}

bool read_block_file(const std::filesystem::path& path, const BlockName& name, std::span<std::byte> contents,
                     const CacheSecret& secret) {
    // O_NONBLOCK: a pipe of that name must not hold anybody up.
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    struct stat status = {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
    if (status.st_size != block_file_bytes(static_cast<std::int64_t>(contents.size()))) return false;
    Header header = {};
    if (!read_all(file.get(), std::as_writable_bytes(std::span(&header, 1)))) return false;
    if (!read_all(file.get(), contents)) return false;
    const Header expected = header_of(name, contents, secret);
    if (std::memcmp(&header, &expected, sizeof header) != 0) return false;
    ::futimens(file.get(), nullptr);  // used just now; where that fails, it only looks older
    return true;
}

CacheSecret folder_secret(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / "secret";
    const auto refuse = [&](const std::string& what) {
        fail(ErrorCode::invalid_argument, "cache", "the secret of the KV cache's folder: " + what);
    };
    CacheSecret secret = {};
    if (::access(path.c_str(), F_OK) != 0) {
        for (std::uint64_t& word : secret) word = random_word();
        // Of several processes that start at once, one names its file; all read that one.
        const std::string problem = write_new_file(
            path, {std::as_bytes(std::span(secret))}, [&](const std::filesystem::path& temporary) {
                const bool made = ::link(temporary.c_str(), path.c_str()) == 0 || errno == EEXIST;
                const int error = errno;
                if (made) ::unlink(temporary.c_str());
                errno = error;
                return made;
            });
        if (!problem.empty()) refuse(problem);
    }
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    struct stat status = {};
    if (!file || ::fstat(file.get(), &status) != 0) refuse(failure("open", path, errno));
    if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0)
        refuse(path.string() + " must be a file that its owner alone can read (mode 0600)");
    if (status.st_size != sizeof secret || !read_all(file.get(), std::as_writable_bytes(std::span(secret))))
        refuse(path.string() + " is damaged; remove it to begin anew");
    return secret;
}

}  // namespace llmcore
