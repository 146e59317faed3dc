// option-manual: writes umbel.conf(5): its source with the option table in the place of a line @SETTINGS@. Part of the build; not
// installed.
#include <cstdio>
#include <fstream>
#include <string>

#include "config/option_table.h"

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("Usage: option_manual SOURCE PAGE\n", stderr);
        return 64;
    }
    std::ifstream in(argv[1]);
    std::ofstream out(argv[2]);
    bool found = false;
    for (std::string line; std::getline(in, line);) {
        const bool here = line == "@SETTINGS@";
        found = found || here;
        out << (here ? umbel::config::option_manual() : line + "\n");
    }
    if (found && out.flush()) return 0;
    std::fprintf(stderr, "option_manual: %s has no line @SETTINGS@, or %s cannot be written\n", argv[1], argv[2]);
    return 1;
}
