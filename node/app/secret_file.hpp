#pragma once

#include <string>

namespace hexad {

/// A secret that lives in a file of mode 0600; made up if the file does not exist.
std::string secret_from_file(const std::string& path);

}  // namespace hexad
