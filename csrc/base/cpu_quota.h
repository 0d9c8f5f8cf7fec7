// How much of the processors' time control groups leave to this process, as in a container.
#pragma once

#include <filesystem>
#include <string_view>

namespace llmcore {

// In processors; 0: no limit. root: where control groups are mounted. membership: as in /proc/self/cgroup.
double cpu_quota(const std::filesystem::path& root, std::string_view membership);

}  // namespace llmcore
