#pragma once

#include "admin/admin_api.hpp"

namespace hexad {

/// Registers `/v1/assignment`, `/v1/rebalance` and `/v1/rebalance/plan` through `add`, which sees to it that
/// only administrators come in (docs/assignment.md).
void serve_assignment(const std::function<void(const std::string& method, const std::string& path,
                                               HttpServer::Handler handler)>& add,
                      const AdminContext& context);

}  // namespace hexad
