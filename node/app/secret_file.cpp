#include "app/secret_file.hpp"

#include <fstream>
#include <sys/stat.h>

#include "base/ids.hpp"

namespace hexad {

std::string secret_from_file(const std::string& path) {
    std::ifstream in(path);
    std::string secret;
    in >> secret;
    if (!secret.empty()) return secret;
    secret = random_id(32);
    const auto old = ::umask(0077);
    std::ofstream(path, std::ios::trunc) << secret << '\n';
    ::umask(old);
    return secret;
}

}  // namespace hexad
