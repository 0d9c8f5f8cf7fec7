#include "harness.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>

namespace llmcore::test {

namespace {

struct Progress {
    int checks = 0;
    int failed_checks = 0;
};

Progress& progress() {
    static Progress instance;
    return instance;
}

}  // namespace

std::vector<TestCase>& registered_tests() {
    static std::vector<TestCase> tests;
    return tests;
}

void report_check(bool passed, const char* expression, const char* file, int line,
                  const std::string& detail) {
    ++progress().checks;
    if (passed) return;
    ++progress().failed_checks;
    std::printf("%s:%d: failed: %s %s\n", file, line, expression, detail.c_str());
}

std::uint64_t Random::next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

float Random::normal() {
    // Box and Muller 1958.
    const double u = (static_cast<double>(next() >> 11) + 1.0) / 9007199254740993.0;
    const double v = static_cast<double>(next() >> 11) / 9007199254740992.0;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

bool quick_sweep() { return std::getenv("LLMCORE_TEST_QUICK") != nullptr; }

double relative_error(const float* a, const double* b, std::size_t n) {
    double difference = 0.0;
    double norm = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        const double delta = static_cast<double>(a[i]) - b[i];
        difference += delta * delta;
        norm += b[i] * b[i];
    }
    return std::sqrt(difference) / (norm > 0.0 ? std::sqrt(norm) : 1.0);
}

}  // namespace llmcore::test

// Runs the tests whose names contain one of the arguments (all without one). Exits 1 if any check fails or
// none ran.
int main(int argc, char** argv) {
    using llmcore::test::progress;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a crash loses nothing of what was told before
    const std::vector<std::string> filters(argv + std::min(argc, 1), argv + argc);
    const auto wanted = [&filters](const std::string& name) {
        return filters.empty() || std::any_of(filters.begin(), filters.end(), [&](const std::string& filter) {
                   return name.find(filter) != std::string::npos;
               });
    };
    int ran = 0;
    int failed = 0;
    for (const auto& test : llmcore::test::registered_tests()) {
        if (!wanted(test.name)) continue;
        ++ran;
        const int failed_before = progress().failed_checks;
        const int checks_before = progress().checks;
        try {
            test.body();
        } catch (const std::exception& error) {
            ++progress().failed_checks;
            std::printf("%s: unexpected exception: %s\n", test.name.c_str(), error.what());
        }
        const bool passed = progress().failed_checks == failed_before && progress().checks > checks_before;
        failed += passed ? 0 : 1;
        std::printf("%s %s (%d checks)\n", passed ? "ok  " : "FAIL", test.name.c_str(),
                    progress().checks - checks_before);
    }
    std::printf("%d tests, %d failed, %d checks\n", ran, failed, progress().checks);
    return ran > 0 && failed == 0 ? 0 : 1;
}
