// What control groups leave of the processors, as their files say it.
#include "base/cpu_quota.h"

#include <fstream>
#include <string>

#include "harness.h"
#include "scratch_folder.h"

namespace llmcore::test {

namespace {

void write(const std::filesystem::path& file, const std::string& text) {
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
}

}  // namespace

LLMCORE_TEST(cpu_quota_is_the_tightest_of_the_groups_above) {
    const ScratchFolder folder;
    const std::filesystem::path& root = folder.path();
    CHECK(cpu_quota(root, "0::/\n") == 0.0);
    write(root / "cpu.max", "max 100000\n");
    CHECK(cpu_quota(root, "0::/\n") == 0.0);
    write(root / "a" / "cpu.max", "400000 100000\n");
    write(root / "a" / "b" / "cpu.max", "max 100000\n");
    CHECK(cpu_quota(root, "0::/a/b\n") == 4.0);
    write(root / "a" / "b" / "cpu.max", "150000 100000\n");
    CHECK(cpu_quota(root, "0::/a/b\n") == 1.5);
    CHECK(cpu_quota(root, "0::/a\n") == 4.0);
    CHECK(cpu_quota(root, "0::/other/place\n") == 0.0);
    CHECK(cpu_quota(root, "") == 0.0 && cpu_quota(root, "nonsense\n:\n") == 0.0);
}

LLMCORE_TEST(cpu_quota_reads_the_older_files) {
    const ScratchFolder folder;
    const std::filesystem::path group = folder.path() / "cpu,cpuacct" / "docker";
    write(group / "cpu.cfs_period_us", "50000\n");
    write(group / "cpu.cfs_quota_us", "-1\n");
    const std::string membership = "9:memory:/docker\n4:cpu,cpuacct:/docker\n2:cpuset:/\n";
    CHECK(cpu_quota(folder.path(), membership) == 0.0);
    write(group / "cpu.cfs_quota_us", "125000\n");
    CHECK(cpu_quota(folder.path(), membership) == 2.5);
    // In a container the path is the host's, and the files are at the top.
    write(folder.path() / "cpu,cpuacct" / "cpu.cfs_period_us", "100000\n");
    write(folder.path() / "cpu,cpuacct" / "cpu.cfs_quota_us", "100000\n");
    CHECK(cpu_quota(folder.path(), "4:cpu,cpuacct:/kubepods/x\n") == 1.0);
}

}  // namespace llmcore::test
