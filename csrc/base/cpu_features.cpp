#include "base/cpu_features.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <thread>

#include "base/error.h"
#include "base/text_file.h"

namespace llmcore {

namespace {

constexpr std::array<const char*, 4> kIsaNames = {"scalar", "avx2", "avx512", "amx"};

#if defined(LLMCORE_EMULATED_ISA)
Isa probe() { return Isa::amx; }  // tests/cpp/isa_emulation runs it
#elif defined(__x86_64__)
// Linux grants the 8 KB of tile state only on request (arch_prctl(2)).
bool request_amx_tiles() {
    constexpr long kArchReqXcompPerm = 0x1023;
    constexpr long kXfeatureXtiledata = 18;
    return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

struct CpuidResult {
    unsigned int ecx;
    unsigned int edx;
};

CpuidResult cpuid(unsigned int leaf) {
    unsigned int eax = leaf;
    unsigned int ebx = 0;
    CpuidResult result = {0, 0};
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(result.ecx), "=d"(result.edx));
    return result;
}

// __builtin_cpu_supports does not know it in every compiler.
bool cpuid_has_f16c() { return (cpuid(1).ecx & (1U << 29)) != 0; }

bool cpuid_has_amx() {
    constexpr unsigned int kBf16 = 1U << 22;
    constexpr unsigned int kTile = 1U << 24;
    constexpr unsigned int kInt8 = 1U << 25;
    return (cpuid(7).edx & (kBf16 | kTile | kInt8)) == (kBf16 | kTile | kInt8);
}

Isa probe() {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpuid_has_f16c() &&
                      __builtin_cpu_supports("bmi2");
    if (!avx2) return Isa::scalar;
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
    if (!avx512) return Isa::avx2;
    const bool amx = __builtin_cpu_supports("avx512bf16") && cpuid_has_amx() && request_amx_tiles();
    return amx ? Isa::amx : Isa::avx512;
}
#else
Isa probe() { return Isa::scalar; }
#endif

}  // namespace

Isa detected_isa() {
    static const Isa isa = probe();
    return isa;
}

Isa isa_ceiling() {
    const char* wanted = std::getenv("LLMCORE_ISA");
    if (wanted == nullptr || *wanted == '\0') return detected_isa();
    for (std::size_t i = 0; i < kIsaNames.size(); ++i) {
        if (std::string_view(wanted) != kIsaNames[i]) continue;
        const Isa isa = static_cast<Isa>(i);
        if (isa > detected_isa())
            fail(ErrorCode::invalid_argument, "cpu",
                 "LLMCORE_ISA names an instruction set this machine lacks", wanted,
                 std::string("at most ") + isa_name(detected_isa()));
        return isa;
    }
    fail(ErrorCode::invalid_argument, "cpu", "LLMCORE_ISA is unknown", wanted, "scalar, avx2, avx512 or amx");
}

const char* isa_name(Isa isa) { return kIsaNames[static_cast<std::size_t>(isa)]; }

std::string cpu_name() {
    const std::string cpuinfo = read_text_file("/proc/cpuinfo");
    const auto line = cpuinfo.find("model name");
    const auto colon = line == std::string::npos ? line : cpuinfo.find(": ", line);
    if (colon != std::string::npos) return cpuinfo.substr(colon + 2, cpuinfo.find('\n', colon) - colon - 2);
#if defined(__x86_64__)
    return "x86-64";
#elif defined(__aarch64__)
    return "aarch64";
#else
    return "unknown processor";
#endif
}

int available_processors() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
    const unsigned int count = std::thread::hardware_concurrency();
    return count > 0 ? static_cast<int>(count) : 1;
}

}  // namespace llmcore
