// log-events: writes the event table into docs/log-events.md (scripts/log-events). A developer's tool; not installed.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "daemon/event_page.h"

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("Usage: log_events PAGE\n", stderr);
        return 64;
    }
    std::ifstream in(argv[1]);
    const std::string page{std::istreambuf_iterator<char>(in), {}};
    const auto made = umbel::daemon::with_event_table(page);
    if (!made) {
        std::fprintf(stderr, "log_events: %s: %s\n", argv[1], made.error().message.c_str());
        return 1;
    }
    std::ofstream out(argv[1]);
    out << *made;
    return out.flush() ? 0 : 1;
}
