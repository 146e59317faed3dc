#include "config/config_file.h"

#include <algorithm>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <map>
#include <sstream>

#include "runtime/base/quantity.h"

namespace umbel::config {

namespace {

namespace po = boost::program_options;

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view blanks = " \t\r";
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

bool is_control(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

class Parser {
public:
    explicit Parser(const std::string& file) : file_(file) {}

    void line(std::string_view text) {
        ++number_;
        if (text.ends_with('\r')) text.remove_suffix(1);
        if (std::ranges::any_of(text, is_control)) {
            problem("the line holds control characters; a config file is plain text");
            return;
        }
        const std::string_view content = trimmed(text.substr(0, text.find('#')));
        if (content.empty()) return;
        if (content.front() == '[') {
            head(content);
        } else {
            entry(content);
        }
    }

    ConfigFile take() { return std::move(result_); }

private:
    [[nodiscard]] std::string origin() const { return file_ + ":" + std::to_string(number_); }
    void problem(const std::string& message) { result_.problems.push_back(origin() + ": " + message); }

    void head(std::string_view content) {
        // What follows a broken head belongs to no known section; it is not reported a second time.
        section_.clear();
        section_is_broken_ = true;
        if (content.back() != ']') {
            problem(rt::quotation(content) + " lacks its closing bracket: write [section]");
            return;
        }
        const std::string name(trimmed(content.substr(1, content.size() - 2)));
        if (name.empty()) {
            problem("the section has no name: write [section]");
            return;
        }
        if (const auto [first, fresh] = heads_.try_emplace(name, origin()); !fresh) {
            problem("section " + rt::quotation(name) + " was begun before, at " + first->second +
                    "; put the keys of both together");
            return;  // I2
        }
        result_.heads.push_back({name, origin()});
        section_ = name;
        section_is_broken_ = false;
    }

    void entry(std::string_view content) {
        std::string key;
        std::string value;
        try {
            std::istringstream stream{std::string(content)};
            const po::options_description any;
            const auto parsed = po::parse_config_file(stream, any, true);
            key = parsed.options.at(0).string_key;
            value = parsed.options.at(0).value.at(0);
        } catch (const po::error&) {
            problem(rt::quotation(content) + " is neither [section] nor `key = value`");
            return;
        }
        if (section_is_broken_) return;
        if (key.empty()) {
            problem("there is no key before `=`");
            return;
        }
        if (section_.empty()) {
            const std::size_t dot = key.rfind('.');
            const std::string suggested = dot == std::string::npos ? "executors" : key.substr(0, dot);
            problem(rt::quotation(key) + " stands in no section; write for instance [" +
                    (is_name(suggested) ? suggested : "section") + "] above it");
            return;
        }
        if (const auto [first, fresh] = keys_.try_emplace({section_, key}, origin()); !fresh) {
            problem(rt::quotation(key) + " was set before, at " + first->second);
            return;  // I2
        }
        result_.entries.push_back({section_, key, value, origin()});
    }

    const std::string& file_;
    std::size_t number_ = 0;
    std::string section_;
    bool section_is_broken_ = false;
    std::map<std::string, std::string> heads_;                         // name → where it was first
    std::map<std::pair<std::string, std::string>, std::string> keys_;  // {section, key} → where it was first
    ConfigFile result_;
};

}  // namespace

ConfigFile parse_config_file(std::string_view text, const std::string& file) {
    Parser parser(file);
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        parser.line(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parser.take();
}

std::string unwritable(std::string_view value) {
    if (std::ranges::any_of(value, is_control)) return "a value cannot hold control characters";
    if (value.contains('#')) return "a value cannot hold '#': it begins a comment";
    return {};
}

bool is_name(std::string_view name) {
    return !name.empty() && name.size() <= 63 && std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
}

}  // namespace umbel::config
