// Fuzz target of quantity.h: any bytes are read by each parser; what is accepted survives printing and reading again
// (I1), what is refused gives one printable line (I3).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/base/quantity.h"

namespace {

using namespace umbel::rt;

void check_line(const Error& error) {
    CHECK(error.error_class == ErrorClass::configuration);
    CHECK(!error.message.empty());
    CHECK(std::ranges::none_of(error.message, [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
}

template <class T, class Parse>
void check_value(const Result<T>& read, Parse parse) {
    if (!read) return check_line(read.error());
    const Result<T> again = parse(to_text(*read));
    CHECK(again.has_value());
    CHECK(*again == *read);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    check_value(parse_bytes(text), parse_bytes);
    check_value(parse_duration(text), parse_duration);
    if (const auto cpus = parse_cpu_list(text); cpus) {
        CHECK(!cpus->empty());
        CHECK(std::ranges::all_of(*cpus, [](int cpu) { return cpu >= 0 && cpu <= max_cpu; }));
        const auto again = parse_cpu_list(to_text(std::span<const int>(*cpus)));
        CHECK(again.has_value());
        CHECK(*again == *cpus);
    } else {
        check_line(cpus.error());
    }
    if (const auto number = parse_integer(text); number) {
        CHECK(parse_integer(std::to_string(*number)).value() == *number);
    } else {
        check_line(number.error());
    }
    if (const auto flag = parse_flag(text); !flag) check_line(flag.error());
    return 0;
}
