#include "base/cpu_features.h"

#include <sched.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <thread>

#include "base/cpu_quota.h"
#include "base/error.h"
#include "base/text_file.h"

namespace llmcore {

namespace {

constexpr std::array<const char*, 8> kIsaNames = {"scalar", "avx2", "avxvnni", "avx512",
                                                  "amx",    "neon", "dotprod", "i8mm"};

// What the machine has of the instruction sets, a bit each.
using IsaSet = std::uint32_t;

constexpr IsaSet bit_of(Isa isa) { return IsaSet{1} << static_cast<unsigned>(isa); }

#if defined(__x86_64__)
constexpr Isa kArchitecture[] = {Isa::scalar, Isa::avx2, Isa::avxvnni, Isa::avx512, Isa::amx};
#endif

#if defined(LLMCORE_EMULATED_ISA)
// tests/cpp/isa_emulation runs them all.
IsaSet probe() {
    IsaSet found = 0;
    for (const Isa isa : kArchitecture) found |= bit_of(isa);
    return found;
}
#elif defined(__x86_64__)
// Linux grants the 8 KB of tile state only on request (arch_prctl(2)).
bool request_amx_tiles() {
    constexpr long kArchReqXcompPerm = 0x1023;
    constexpr long kXfeatureXtiledata = 18;
    return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

struct CpuidResult {
    unsigned int eax;
    unsigned int ecx;
    unsigned int edx;
};

CpuidResult cpuid(unsigned int leaf, unsigned int subleaf = 0) {
    CpuidResult result = {leaf, subleaf, 0};
    unsigned int ebx = 0;
    __asm__("cpuid" : "+a"(result.eax), "=b"(ebx), "+c"(result.ecx), "=d"(result.edx));
    return result;
}

// __builtin_cpu_supports does not know these in every compiler.
bool cpuid_has_f16c() { return (cpuid(1).ecx & (1U << 29)) != 0; }

bool cpuid_has_avx_vnni() { return cpuid(7).eax >= 1 && (cpuid(7, 1).eax & (1U << 4)) != 0; }

bool cpuid_has_amx() {
    constexpr unsigned int kBf16 = 1U << 22;
    constexpr unsigned int kTile = 1U << 24;
    constexpr unsigned int kInt8 = 1U << 25;
    return (cpuid(7).edx & (kBf16 | kTile | kInt8)) == (kBf16 | kTile | kInt8);
}

IsaSet probe() {
    IsaSet found = bit_of(Isa::scalar);
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpuid_has_f16c() &&
                      __builtin_cpu_supports("bmi2");
    if (!avx2) return found;
    found |= bit_of(Isa::avx2);
    if (cpuid_has_avx_vnni()) found |= bit_of(Isa::avxvnni);
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
    if (!avx512) return found;
    found |= bit_of(Isa::avx512);
    const bool amx = __builtin_cpu_supports("avx512bf16") && cpuid_has_amx() && request_amx_tiles();
    return amx ? found | bit_of(Isa::amx) : found;
}
#elif defined(__aarch64__)
constexpr Isa kArchitecture[] = {Isa::scalar, Isa::neon, Isa::dotprod, Isa::i8mm};

// The bits of Linux's arch/arm64/include/uapi/asm/hwcap.h; older C libraries lack some of the names.
IsaSet probe() {
    constexpr unsigned long kAsimd = 1UL << 1;
    constexpr unsigned long kAsimdDotProduct = 1UL << 20;
    constexpr unsigned long kInt8MatrixProduct = 1UL << 13;  // of AT_HWCAP2
    IsaSet found = bit_of(Isa::scalar);
    const unsigned long capabilities = getauxval(AT_HWCAP);
    if ((capabilities & kAsimd) == 0) return found;
    found |= bit_of(Isa::neon);
    if ((capabilities & kAsimdDotProduct) == 0) return found;
    found |= bit_of(Isa::dotprod);
    const bool i8mm = (getauxval(AT_HWCAP2) & kInt8MatrixProduct) != 0;
    return i8mm ? found | bit_of(Isa::i8mm) : found;
}
#else
constexpr Isa kArchitecture[] = {Isa::scalar};

IsaSet probe() { return bit_of(Isa::scalar); }
#endif

std::string names_of(std::span<const Isa> isas) {
    std::string names;
    for (const Isa isa : isas) names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
    return names;
}

IsaSet machine_isas() {
    static const IsaSet isas = probe();
    return isas;
}

}  // namespace

Isa detected_isa() { return runnable_isas().back(); }

bool can_run(Isa isa, Isa ceiling) { return isa <= ceiling && (machine_isas() & bit_of(isa)) != 0; }

std::vector<Isa> runnable_isas() {
    std::vector<Isa> isas;
    for (const Isa isa : kArchitecture)
        if (can_run(isa, isa)) isas.push_back(isa);
    return isas;
}

Isa isa_ceiling() {
    const char* wanted = std::getenv("LLMCORE_ISA");
    if (wanted == nullptr || *wanted == '\0') return detected_isa();
    for (const Isa isa : kArchitecture) {
        if (std::string_view(wanted) != isa_name(isa)) continue;
        if (can_run(isa, isa)) return isa;
        fail(ErrorCode::invalid_argument, "cpu", "LLMCORE_ISA names an instruction set this machine lacks",
             wanted, "one of " + names_of(runnable_isas()));
    }
    fail(ErrorCode::invalid_argument, "cpu", "LLMCORE_ISA is unknown", wanted,
         "one of " + names_of(kArchitecture));
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
    const bool told = sched_getaffinity(0, sizeof(set), &set) == 0;
    const int count =
        std::max(1, told ? CPU_COUNT(&set) : static_cast<int>(std::thread::hardware_concurrency()));
    const double quota = cpu_quota("/sys/fs/cgroup", read_text_file("/proc/self/cgroup"));
    return quota > 0.0 ? std::min(count, static_cast<int>(std::ceil(quota))) : count;
}

}  // namespace llmcore
