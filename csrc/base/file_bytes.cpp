#include "base/file_bytes.h"

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "base/error.h"

namespace llmcore {

void read_file_bytes(int fd, std::int64_t offset, std::span<std::byte> target) {
    while (!target.empty()) {
        const ssize_t got = ::pread(fd, target.data(), target.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            fail(ErrorCode::gguf, "file", "cannot be read", std::generic_category().message(errno), "bytes");
        if (got == 0)
            fail(ErrorCode::gguf, "file", "it was shortened while it was read",
                 "an end at byte " + std::to_string(offset), std::to_string(target.size()) + " bytes more");
        target = target.subspan(static_cast<std::size_t>(got));
        offset += got;
    }
}

}  // namespace llmcore
