#include "base/log.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/log_list.hpp"
#include "base/text.hpp"

namespace hexad {
namespace {

std::atomic<LogLevel> lowest{LogLevel::info};
std::atomic<int> target{STDERR_FILENO};

constexpr std::string_view names[] = {"debug", "info", "warn", "error"};

bool needs_quotes(std::string_view value) {
    if (value.empty()) return true;
    for (const char c : value) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte <= 0x20 || byte == '"' || byte == '=' || byte == '\\' || byte == 0x7f) return true;
    }
    return false;
}

void append_value(std::string& out, std::string_view value) {
    if (!needs_quotes(value)) {
        out += value;
        return;
    }
    constexpr char digits[] = "0123456789abcdef";
    out += '"';
    for (const char c : value) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\r') {
            out += "\\r";
        } else if (c == '\t') {
            out += "\\t";
        } else if (byte < 0x20 || byte == 0x7f) {
            out += "\\x";
            out += digits[byte >> 4];
            out += digits[byte & 15];
        } else {
            out += c;
        }
    }
    out += '"';
}

}  // namespace

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
    log_list(level, event, {fields.begin(), fields.size()});
}

void log_list(LogLevel level, std::string_view event, std::span<const LogField> fields) {
    if (level < lowest.load(std::memory_order_relaxed)) return;
    std::string line;
    line.reserve(160);
    line += "ts=";
    line += format_time(wall_now());
    line.erase(line.size() - 4, 3);  // microseconds to milliseconds, keeping the Z
    line += " level=";
    line += names[static_cast<int>(level)];
    line += " event=";
    append_value(line, event);
    for (const auto& field : fields) {
        line += ' ';
        line += field.key;
        line += '=';
        append_value(line, field.value);
    }
    line += '\n';
    // One write(2) of one line to a descriptor opened with O_APPEND: lines of several threads do not mix. A
    // log that cannot be written must not stop the server.
    std::string_view rest = line;
    while (!rest.empty()) {
        const auto n = ::write(target.load(std::memory_order_relaxed), rest.data(), rest.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        rest.remove_prefix(static_cast<std::size_t>(n));
    }
}

void configure_log(std::string_view level, const std::string& file) {
    bool known = false;
    for (int i = 0; i < 4; ++i) {
        if (names[i] == level) {
            lowest = static_cast<LogLevel>(i);
            known = true;
        }
    }
    if (!known)
        throw std::invalid_argument("log level must be debug, info, warn or error, not '" +
                                    std::string(level) + "'");
    int next = STDERR_FILENO;
    if (!file.empty()) {
        next = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        if (next < 0)
            throw std::runtime_error("cannot open the log file " + file + ": " + std::strerror(errno));
    }
    const int before = target.exchange(next);
    if (before != STDERR_FILENO) ::close(before);
}

}  // namespace hexad
