#include "base/fail_point.hpp"

#ifdef HEXAD_FAIL_POINTS
#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>
#include <unistd.h>
#endif

namespace hexad {

#ifdef HEXAD_FAIL_POINTS

namespace {

std::string& folder() {
    static std::string path;
    return path;
}

}  // namespace

void set_fail_point_folder(std::string path) { folder() = std::move(path); }

void fail_point(std::string_view name) {
    if (folder().empty()) return;
    const auto file = folder() + '/' + std::string(name);
    if (::access(file.c_str(), F_OK) != 0) return;
    std::string what;
    int ms = 0;
    std::ifstream(file) >> what >> ms;
    ::unlink(file.c_str());
    if (what == "BUSY") {
        std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    } else {
        ::raise(what == "STOP" ? SIGSTOP : SIGKILL);
    }
}

#else

void set_fail_point_folder(std::string) {}
void fail_point(std::string_view) {}

#endif

}  // namespace hexad
