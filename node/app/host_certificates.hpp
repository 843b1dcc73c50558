#pragma once

#include <string>
#include <vector>

#include "base/config.hpp"
#include "io/tls_context.hpp"

namespace hexad {

/// The certificate of each host, as configured. A host without one gets a self-signed one for its name and
/// this address, made in the folder `data` if it is not there yet.
std::vector<TlsCertificate> host_certificates(const Config& config, const std::string& address,
                                              const std::string& data);

}  // namespace hexad
