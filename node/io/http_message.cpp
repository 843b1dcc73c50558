#include "io/http_message.hpp"

#include <algorithm>
#include <charconv>

namespace hexad {
namespace {

bool is_token(std::string_view text) {
    if (text.empty()) return false;
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    });
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

/// The next line without its CRLF (a bare LF is taken too, RFC 9112 §2.2).
std::string_view take_line(std::string_view& text) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

bool parse_fields(std::string_view text, HttpFields& fields) {
    while (!text.empty()) {
        const auto line = take_line(text);
        const auto colon = line.find(':');
        if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return false;
        const auto value = trim(line.substr(colon + 1));
        const bool clean = std::all_of(value.begin(), value.end(), [](char c) {
            return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
        });
        if (!clean) return false;
        fields.add(line.substr(0, colon), value);
    }
    return true;
}

template <class Integer>
bool parse_number(std::string_view text, Integer& value, int base = 10) {
    if (text.empty()) return false;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    return ec == std::errc() && end == text.data() + text.size();
}

bool parse_version(std::string_view text, int& minor) {
    if (text.size() != 8 || !text.starts_with("HTTP/1.")) return false;
    minor = text[7] - '0';
    return minor == 0 || minor == 1;
}

std::optional<HttpFraming> framing(const HttpFields& fields, int minor) {
    using Kind = HttpFraming::Kind;
    const auto lengths = fields.count("content-length");
    if (fields.has("transfer-encoding")) {
        if (lengths != 0 || minor == 0 || fields.count("transfer-encoding") != 1 ||
            !equals_ignoring_case(fields.get("transfer-encoding"), "chunked"))
            return std::nullopt;
        return HttpFraming{Kind::chunked, 0};
    }
    if (lengths == 0) return HttpFraming{};
    const auto text = fields.get("content-length");
    std::uint64_t length = 0;
    const bool digits = std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (lengths != 1 || !digits || !parse_number(text, length)) return std::nullopt;
    return HttpFraming{Kind::length, length};
}

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](char x, char y) { return lower(x) == lower(y); });
}

std::string_view HttpFields::get(std::string_view name) const {
    for (const auto& [key, value] : fields_)
        if (equals_ignoring_case(key, name)) return value;
    return {};
}

bool HttpFields::has(std::string_view name) const { return count(name) > 0; }

std::size_t HttpFields::count(std::string_view name) const {
    return static_cast<std::size_t>(std::count_if(fields_.begin(), fields_.end(), [&](const auto& field) {
        return equals_ignoring_case(field.first, name);
    }));
}

bool HttpFields::has_token(std::string_view name, std::string_view token) const {
    for (const auto& [key, value] : fields_) {
        if (!equals_ignoring_case(key, name)) continue;
        std::string_view rest = value;
        while (!rest.empty()) {
            const auto comma = std::min(rest.find(','), rest.size());
            if (equals_ignoring_case(trim(rest.substr(0, comma)), token)) return true;
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
    }
    return false;
}

void HttpFields::add(std::string_view name, std::string_view value) { fields_.emplace_back(name, value); }

void HttpFields::set(std::string_view name, std::string_view value) {
    std::erase_if(fields_, [&](const auto& field) { return equals_ignoring_case(field.first, name); });
    add(name, value);
}

std::optional<HttpRequestHead> parse_request_head(std::string_view text) {
    const auto line = take_line(text);
    const auto first = line.find(' ');
    const auto last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) return std::nullopt;
    HttpRequestHead head;
    head.method = line.substr(0, first);
    head.target = line.substr(first + 1, last - first - 1);
    const bool clean = std::all_of(head.target.begin(), head.target.end(),
                                   [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
    if (!is_token(head.method) || !clean || head.target.empty() ||
        !parse_version(line.substr(last + 1), head.minor))
        return std::nullopt;
    // Absolute form (RFC 9112 §3.2.2): only the path matters here.
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (!head.target.starts_with(scheme)) continue;
        const auto slash = head.target.find('/', scheme.size());
        head.target = slash == std::string::npos ? "/" : head.target.substr(slash);
        break;
    }
    if (head.target.front() != '/' && head.target != "*") return std::nullopt;
    if (!parse_fields(text, head.fields)) return std::nullopt;
    if (head.minor == 1 && head.fields.count("host") != 1) return std::nullopt;
    return head;
}

std::optional<HttpResponseHead> parse_response_head(std::string_view text) {
    const auto line = take_line(text);
    HttpResponseHead head;
    if (line.size() < 12 || line[8] != ' ' || !parse_version(line.substr(0, 8), head.minor) ||
        !parse_number(line.substr(9, 3), head.status) || head.status < 100)
        return std::nullopt;
    if (line.size() > 12 && line[12] != ' ') return std::nullopt;
    if (!parse_fields(text, head.fields)) return std::nullopt;
    return head;
}

std::optional<HttpFraming> request_framing(const HttpRequestHead& head) {
    return framing(head.fields, head.minor);
}

std::optional<HttpFraming> response_framing(const HttpResponseHead& head, bool head_request) {
    if (head_request || head.status < 200 || head.status == 204 || head.status == 304) return HttpFraming{};
    auto found = framing(head.fields, head.minor);
    if (found && found->kind == HttpFraming::Kind::none) found->kind = HttpFraming::Kind::until_close;
    return found;
}

ChunkDecoder::State ChunkDecoder::feed(std::string_view& input, std::string& out) {
    constexpr std::size_t max_line = 4096;
    while (!input.empty()) {
        if (step_ == Step::data) {
            const auto part =
                input.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size())));
            out.append(part);
            input.remove_prefix(part.size());
            left_ -= part.size();
            if (left_ == 0) step_ = Step::data_end;
            continue;
        }
        const auto end = input.find('\n');
        line_.append(input.substr(0, end));
        if (line_.size() > max_line) return State::failed;
        if (end == std::string_view::npos) {
            input = {};
            return State::more;
        }
        input.remove_prefix(end + 1);
        std::string_view line = line_;
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (step_ == Step::data_end) {
            if (!line.empty()) return State::failed;
            step_ = Step::size;
        } else if (step_ == Step::size) {
            line = trim(line.substr(0, line.find(';')));
            const bool hex =
                std::all_of(line.begin(), line.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
            if (!hex || line.size() > 15 || !parse_number(line, left_, 16)) return State::failed;
            step_ = left_ == 0 ? Step::trailer : Step::data;
        } else {
            if (line.empty()) return State::done;
            trailer_bytes_ += line.size();
            if (trailer_bytes_ > max_line) return State::failed;
        }
        line_.clear();
    }
    return State::more;
}

RangeKind parse_range(std::string_view header, std::uint64_t size, ByteRange& range) {
    if (!header.starts_with("bytes=") || header.find(',') != std::string_view::npos) return RangeKind::none;
    header.remove_prefix(6);
    header = trim(header);
    const auto dash = header.find('-');
    if (dash == std::string_view::npos) return RangeKind::none;
    const auto first = header.substr(0, dash);
    const auto last = header.substr(dash + 1);
    std::uint64_t number = 0;
    if (first.empty()) {
        if (!parse_number(last, number)) return RangeKind::none;
        if (number == 0 || size == 0) return RangeKind::unsatisfiable;
        range = {size - std::min(number, size), size - 1};
        return RangeKind::valid;
    }
    if (!parse_number(first, number)) return RangeKind::none;
    std::uint64_t end = UINT64_MAX;
    if (!last.empty() && (!parse_number(last, end) || end < number)) return RangeKind::none;
    if (number >= size) return RangeKind::unsatisfiable;
    range = {number, std::min(end, size - 1)};
    return RangeKind::valid;
}

std::string_view http_reason(int status) {
    switch (status) {
        case 100:
            return "Continue";
        case 101:
            return "Switching Protocols";
        case 200:
            return "OK";
        case 201:
            return "Created";
        case 202:
            return "Accepted";
        case 204:
            return "No Content";
        case 206:
            return "Partial Content";
        case 301:
            return "Moved Permanently";
        case 302:
            return "Found";
        case 304:
            return "Not Modified";
        case 307:
            return "Temporary Redirect";
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 409:
            return "Conflict";
        case 410:
            return "Gone";
        case 411:
            return "Length Required";
        case 413:
            return "Content Too Large";
        case 414:
            return "URI Too Long";
        case 415:
            return "Unsupported Media Type";
        case 416:
            return "Range Not Satisfiable";
        case 422:
            return "Unprocessable Content";
        case 426:
            return "Upgrade Required";
        case 429:
            return "Too Many Requests";
        case 431:
            return "Request Header Fields Too Large";
        case 500:
            return "Internal Server Error";
        case 501:
            return "Not Implemented";
        case 502:
            return "Bad Gateway";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        case 507:
            return "Insufficient Storage";
        default:
            return "Status";
    }
}

std::optional<std::string> percent_decode(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        unsigned value = 0;
        const auto digits = text.substr(i + 1, 2);
        if (digits.size() != 2 || !parse_number(digits, value, 16) || value == 0) return std::nullopt;
        out += static_cast<char>(value);
        i += 2;
    }
    return out;
}

std::string percent_encode(std::string_view text) {
    constexpr char digits[] = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
            c == '.' || c == '_' || c == '~') {
            out += c;
        } else {
            out += '%';
            out += digits[static_cast<unsigned char>(c) >> 4];
            out += digits[static_cast<unsigned char>(c) & 15];
        }
    }
    return out;
}

}  // namespace hexad
