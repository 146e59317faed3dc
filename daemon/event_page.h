// event_page.h: docs/log-events.md's table, made from the event table.
//
// Why.    A page written by hand is wrong after the next event. scripts/log-events writes it; a test finds it out of date.
// Shape.  The page's prose is by hand; what stands between the two marker lines is replaced.
#pragma once

#include <string>
#include <string_view>

#include "runtime/base/result.h"

namespace umbel::daemon {

/// The page with its table as it must be. Errors: failure (the markers are not there).
[[nodiscard]] rt::Result<std::string> with_event_table(std::string_view page);

}  // namespace umbel::daemon
