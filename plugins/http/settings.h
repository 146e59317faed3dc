// settings.h: the plugin's section of the config file, and the Site made of it.
#pragma once

#include <cstdint>

#include "body.h"
#include "site.h"
#include "umbel/umbel.h"

namespace http {

/// The keys, with their defaults and ranges.
constexpr std::uint32_t setting_count = 20;
extern const umbel_setting setting_table[];

/// Reads them; throws a std::runtime_error with a sentence for what the table cannot check. The folder is not open yet.
Ref<Site> read_site(const umbel::settings& settings);

/// What a session needs of each region of its memory. Small regions share their page tables. The I/O heap has to hold two
/// blocks and records; the mailbox, the completions that a stream may bring, and the parts of a route's answer.
constexpr std::size_t session_memory = 4 * largest_block;

}  // namespace http
