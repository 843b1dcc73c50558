#pragma once

#include <span>

#include "base/log.hpp"

namespace hexad {

/// As log_event, for fields whose number is known at run time only.
void log_list(LogLevel level, std::string_view event, std::span<const LogField> fields);

}  // namespace hexad
