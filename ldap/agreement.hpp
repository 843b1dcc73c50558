#pragma once

#include <string>

#include "base/config.hpp"
#include "ldap/directory.hpp"

namespace hexad::ldap {

/// Where an `[[agreement]]` says the directory is and how to get in. The secret is read from its file anew at
/// each call: a changed one counts from then on.
DirectoryConfig directory_of(const AgreementConfig& agreement);

}  // namespace hexad::ldap
