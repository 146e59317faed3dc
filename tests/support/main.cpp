// main() of every test binary: GoogleTest's options, and --seed=N (seed.h).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/support/seed.h"

namespace {

class SeedAnnouncement : public testing::EmptyTestEventListener {
    void OnTestProgramStart(const testing::UnitTest& /*program*/) override {
        std::printf("seed %llu (again: --seed=%llu)\n", static_cast<unsigned long long>(umbel::test::seed()),
                    static_cast<unsigned long long>(umbel::test::seed()));
        std::fflush(stdout);
    }
};

}  // namespace

int main(int argc, char** argv) {
    testing::InitGoogleMock(&argc, argv);
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        constexpr std::string_view option = "--seed=";
        if (!argument.starts_with(option)) {
            std::fprintf(stderr, "unknown option '%s'; besides GoogleTest's there is --seed=N\n", argv[i]);
            return 64;
        }
        setenv("UMBEL_SEED", argv[i] + option.size(), 1);
    }
    // rapidcheck reads its parameters from the environment: ours first, so that the user's own win.
    const char* given = std::getenv("RC_PARAMS");
    const std::string parameters =
        "seed=" + std::to_string(umbel::test::seed()) + (given == nullptr ? std::string() : std::string(" ") + given);
    setenv("RC_PARAMS", parameters.c_str(), 1);
    testing::UnitTest::GetInstance()->listeners().Append(new SeedAnnouncement);
    return RUN_ALL_TESTS();
}
