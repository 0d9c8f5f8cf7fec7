// The smallest test harness that serves: named tests, checks that report and go on, a random generator with a
// seed.
#pragma once

#include <cstdint>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"

namespace llmcore::test {

struct TestCase {
    std::string name;
    std::function<void()> body;
};

std::vector<TestCase>& registered_tests();

struct Registration {
    Registration(const char* name, std::function<void()> body) {
        registered_tests().push_back({name, std::move(body)});
    }
};

// Counts a check and, where it fails, prints it and marks the running test as failed.
void report_check(bool passed, const char* expression, const char* file, int line, const std::string& detail);

// A small deterministic generator (SplitMix64, Steele et al. 2014).
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next();
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    float normal();  // N(0, 1)

private:
    std::uint64_t state_;
};

// LLMCORE_TEST_QUICK is set: fewer shapes, and only the kernels of the highest instruction set, where there
// are many. For processors that are emulated.
bool quick_sweep();

// ||a - b|| / ||b|| in the 2-norm.
double relative_error(const float* a, const double* b, std::size_t n);

}  // namespace llmcore::test

#define LLMCORE_TEST(name)                                                                               \
    static void llmcore_test_##name();                                                                   \
    static const ::llmcore::test::Registration llmcore_registration_##name(#name, &llmcore_test_##name); \
    static void llmcore_test_##name()

#define CHECK(condition) \
    ::llmcore::test::report_check(static_cast<bool>(condition), #condition, __FILE__, __LINE__, "")

// As CHECK, with values to print when it fails.
#define CHECK_MSG(condition, message)                                                                        \
    do {                                                                                                     \
        const bool llmcore_passed = static_cast<bool>(condition);                                            \
        std::ostringstream llmcore_stream;                                                                   \
        if (!llmcore_passed) llmcore_stream << message;                                                      \
        ::llmcore::test::report_check(llmcore_passed, #condition, __FILE__, __LINE__, llmcore_stream.str()); \
    } while (false)

// The expression must throw llmcore::Error with this code.
#define CHECK_THROWS(expected_code, expression)                                                            \
    do {                                                                                                   \
        bool llmcore_thrown = false;                                                                       \
        try {                                                                                              \
            static_cast<void>(expression);                                                                 \
        } catch (const ::llmcore::Error& error) {                                                          \
            llmcore_thrown = error.code() == (expected_code);                                              \
        }                                                                                                  \
        ::llmcore::test::report_check(llmcore_thrown, "throws " #expected_code ": " #expression, __FILE__, \
                                      __LINE__, "");                                                       \
    } while (false)
