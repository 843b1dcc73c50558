#pragma once

#include "ctl/ha.hpp"

namespace hexad {

/// `user assign`, `user pin`, `user unpin`, `rebalance …`
void add_assignment_commands(CLI::App& app, CLI::App& user, ApiCall call);

}  // namespace hexad
