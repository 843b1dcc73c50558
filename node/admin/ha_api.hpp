#pragma once

#include "admin/admin_api.hpp"

namespace hexad {

/// Registers `/v1/topology`, `/v1/ha`, `/v1/events`, `/v1/replication`, `/v1/doctor` through `add`, which
/// sees to it that only administrators come in (docs/redundancy-groups.md).
void serve_ha(const std::function<void(const std::string& method, const std::string& path,
                                       HttpServer::Handler handler)>& add,
              const AdminContext& context);

}  // namespace hexad
