#include "base/text_file.h"

#include <cstdio>
#include <memory>

namespace llmcore {

std::string read_text_file(const char* path) {
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    const std::unique_ptr<std::FILE, Close> file(std::fopen(path, "re"));
    std::string text;
    if (file == nullptr) return text;
    char part[4096];
    while (const std::size_t got = std::fread(part, 1, sizeof part, file.get())) text.append(part, got);
    return text;
}

}  // namespace llmcore
