#include "base/cpu_quota.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

#include "base/text_file.h"

namespace llmcore {

namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

double number_in(const std::filesystem::path& file) {
    return std::strtod(read_text_file(file.c_str()).c_str(), nullptr);
}

// Of the folder of a group alone: version 2 has "quota period" or "max period", version 1 a file for each,
// with -1 for no quota.
double quota_of(const std::filesystem::path& group) {
    const std::string both = read_text_file((group / "cpu.max").c_str());
    double quota = 0.0, period = 0.0;
    if (both.empty()) {
        quota = number_in(group / "cpu.cfs_quota_us");
        period = number_in(group / "cpu.cfs_period_us");
    } else {
        char* rest = nullptr;
        quota = std::strtod(both.c_str(), &rest);
        period = std::strtod(rest, nullptr);
    }
    return quota > 0.0 && period > 0.0 ? quota / period : kUnlimited;
}

// The tightest of a group's and those above it.
double tightest(const std::filesystem::path& root, const std::filesystem::path& group) {
    std::filesystem::path at = root;
    double found = quota_of(at);
    for (const std::filesystem::path& part : group.relative_path()) {
        at /= part;
        found = std::min(found, quota_of(at));
    }
    return found;
}

}  // namespace

// A line is "number:controllers:path"; version 2's has no controllers.
double cpu_quota(const std::filesystem::path& root, std::string_view membership) {
    double found = kUnlimited;
    while (!membership.empty()) {
        const std::string_view line = membership.substr(0, membership.find('\n'));
        membership.remove_prefix(std::min(membership.size(), line.size() + 1));
        const std::size_t first = line.find(':');
        const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
        if (second == line.npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1);
        const bool is_cpu = (',' + std::string(controllers) + ',').find(",cpu,") != std::string::npos;
        if (!controllers.empty() && !is_cpu) continue;
        found = std::min(found, tightest(root / controllers, std::filesystem::path(line.substr(second + 1))));
    }
    return found == kUnlimited ? 0.0 : found;
}

}  // namespace llmcore
