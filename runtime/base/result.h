// result.h: the spelling of "this can go wrong, and somebody must say what to do about it".
//
// Why.    Operating errors (a refused system call, a bad setting, a missing file) reach a person. They carry a
//         sentence that names the thing, the cause and the remedy, and the class that chooses the exit code.
// Not here.  Results of an actor's operations: those are numbers (`-errno`), see runtime/io/operation.h.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace umbel::rt {

/// What kind of trouble an Error is; the daemon turns it into its exit code.
enum class ErrorClass : unsigned char {
    usage,          // The command line. Exit 64.
    system,         // The system refused something Umbel cannot do without. Exit 71.
    configuration,  // A setting, a config file, a plugin that cannot be loaded. Exit 78.
    failure,        // Everything else, an address in use for instance: a restart may help. Exit 1.
};

struct Error {
    ErrorClass error_class = ErrorClass::failure;
    std::string message;  // One line: the thing, the cause, the remedy.
};

template <class T>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(ErrorClass error_class, std::string message) {
    return std::unexpected<Error>(Error{error_class, std::move(message)});
}

}  // namespace umbel::rt
