#include "gguf/contents.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "base/descriptor.h"
#include "base/error.h"
#include "gguf/printable.h"

namespace llmcore::gguf {
namespace {

static_assert(sizeof(std::size_t) >= sizeof(off_t), "a file of any size is mapped whole");

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view got) {
    fail(ErrorCode::gguf, "gguf", "cannot read " + printable(path.native(), path.native().size()), got,
         "a GGUF file");
}

[[noreturn]] void refuse_errno(const std::filesystem::path& path, int error) {
    refuse(path, std::generic_category().message(error));
}

}  // namespace

Contents Contents::map(const std::filesystem::path& path) {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) refuse_errno(path, errno);
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) refuse_errno(path, errno);
    if (S_ISDIR(status.st_mode)) refuse(path, "a directory");
    if (!S_ISREG(status.st_mode)) refuse(path, "something other than a regular file");
    if (status.st_size <= 0) refuse(path, "an empty file");
    const auto size = static_cast<std::size_t>(status.st_size);
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (mapping == MAP_FAILED) refuse_errno(path, errno);
    Contents contents;
    contents.mapping_ = mapping;
    contents.reader_ = std::make_unique<FileReader>(file.release());
    contents.bytes_ = {static_cast<const std::byte*>(mapping), size};
    return contents;
}

Contents Contents::own(std::vector<std::byte> bytes) {
    Contents contents;
    contents.owned_ = std::move(bytes);
    contents.bytes_ = contents.owned_;
    return contents;
}

// A moved vector keeps its storage, so the view stays right.
Contents::Contents(Contents&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})),
      owned_(std::move(other.owned_)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      reader_(std::move(other.reader_)) {}

Contents& Contents::operator=(Contents&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    owned_.swap(other.owned_);
    std::swap(mapping_, other.mapping_);
    reader_.swap(other.reader_);
    return *this;
}

Contents::~Contents() {
    if (mapping_ != nullptr) ::munmap(mapping_, bytes_.size());
}

bool Contents::is_whole() const {
    struct stat status{};
    return reader_ == nullptr || (::fstat(reader_->fd(), &status) == 0 &&
                                  static_cast<std::size_t>(status.st_size) >= bytes_.size());
}

}  // namespace llmcore::gguf
