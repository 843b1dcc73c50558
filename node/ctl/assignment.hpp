#pragma once

#include "ctl/ha.hpp"

namespace hexad {

/// `user assign`, `user pin`, `user unpin`, `room move`, `rebalance …`
void add_assignment_commands(CLI::App& app, CLI::App& user, CLI::App& room, ApiCall call);

}  // namespace hexad
