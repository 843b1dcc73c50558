#pragma once

#include <string>

namespace hexad {

/// Gives a dead node's lease back, if it still is that incarnation's, so that its peer need not wait for the
/// lease to end. Blocking, for the supervisor; at most two seconds. `url` and `password` as in RedisOptions
/// (TLS is left to the lease's end). True if there was one to give back.
bool return_lease(const std::string& cluster, const std::string& node, const std::string& incarnation,
                  const std::string& url, const std::string& password);

}  // namespace hexad
