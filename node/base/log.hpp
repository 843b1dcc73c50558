#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace hexad {

enum class LogLevel { debug, info, warn, error };

/// One field of a log line. Values with spaces, quotes or control characters are quoted and escaped (logfmt).
struct LogField {
    std::string_view key;
    std::string value;
    LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
    LogField(std::string_view k, const char* v) : key(k), value(v) {}
    LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
    LogField(std::string_view k, std::int64_t v) : key(k), value(std::to_string(v)) {}
    LogField(std::string_view k, std::uint64_t v) : key(k), value(std::to_string(v)) {}
    LogField(std::string_view k, int v) : key(k), value(std::to_string(v)) {}
    LogField(std::string_view k, unsigned v) : key(k), value(std::to_string(v)) {}
    LogField(std::string_view k, bool v) : key(k), value(v ? "true" : "false") {}
};

/// Writes one event as one logfmt line: `ts=… level=… event=<event> key=value …`. Never a stanza's body,
/// never a credential. Safe from any thread.
void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

inline void log_debug(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log_event(LogLevel::debug, event, fields);
}
inline void log_info(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log_event(LogLevel::info, event, fields);
}
inline void log_warn(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log_event(LogLevel::warn, event, fields);
}
inline void log_error(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log_event(LogLevel::error, event, fields);
}

/// `level`: debug, info, warn or error. `file` empty = standard error. Called once at start.
void configure_log(std::string_view level, const std::string& file);

}  // namespace hexad
