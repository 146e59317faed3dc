#include "encoding.h"

#include <algorithm>

#include "syntax.h"

namespace http {

namespace {

// "gzip;q=0.5": its name and weight; a weight that is none makes it not acceptable.
struct Weighed {
    std::string_view name;
    unsigned weight = 1000;
};

Weighed weighed(std::string_view element) {
    Weighed found;
    const std::size_t semicolon = element.find(';');
    found.name = trimmed(element.substr(0, semicolon));
    if (semicolon == std::string_view::npos) return found;
    const std::string_view parameter = trimmed(element.substr(semicolon + 1));
    if (parameter.size() < 2 || lower(parameter[0]) != 'q' || parameter[1] != '=') return {found.name, 0};
    found.weight = parse_weight(parameter.substr(2)).value_or(0);
    return found;
}

}  // namespace

std::optional<unsigned> parse_weight(std::string_view text) {
    if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return std::nullopt;
    unsigned value = text[0] == '1' ? 1000 : 0;
    if (text.size() > 1 && text[1] != '.') return std::nullopt;
    unsigned place = 100;
    for (const char c : text.substr(std::min<std::size_t>(2, text.size()))) {
        if (!is_digit(c)) return std::nullopt;
        value += static_cast<unsigned>(c - '0') * place;
        place /= 10;
    }
    if (value > 1000) return std::nullopt;
    return value;
}

std::optional<Coding> coding_named(std::string_view name) {
    for (std::size_t i = 0; i < coding_count; ++i) {
        if (same_name(codings[i].name, name)) return static_cast<Coding>(i);
    }
    // 8.4.1.3: its old name.
    if (same_name(name, "x-gzip")) return Coding::gzip;
    return std::nullopt;
}

CodingList acceptable(const CodingList& offered, std::string_view accept_encoding) {
    std::array<std::optional<unsigned>, coding_count> weights;
    std::optional<unsigned> any;
    std::optional<unsigned> identity;
    while (const auto element = next_element(accept_encoding)) {
        const Weighed found = weighed(*element);
        if (found.name == "*") {
            any = found.weight;
        } else if (same_name(found.name, "identity")) {
            identity = found.weight;
        } else if (const auto coding = coding_named(found.name)) {
            weights[static_cast<std::size_t>(*coding)] = found.weight;
        }
    }
    const auto weight = [&](Coding coding) {
        return weights[static_cast<std::size_t>(coding)].value_or(any.value_or(0));
    };
    // Not mentioned, the plain form is acceptable, but nobody asked for it.
    const unsigned plain = identity.value_or(0);
    CodingList sorted;
    for (;;) {
        std::optional<Coding> best;
        for (const Coding coding : offered) {
            const bool taken = std::find(sorted.begin(), sorted.end(), coding) != sorted.end();
            if (taken || weight(coding) == 0 || weight(coding) < plain) continue;
            if (!best || weight(coding) > weight(*best)) best = coding;
        }
        if (!best) return sorted;
        sorted.add(*best);
    }
}

}  // namespace http
