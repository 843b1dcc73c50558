#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hexad {

/// Header fields in order; names compare without case.
class HttpFields {
public:
    /// Value of the first field of that name, empty if none.
    std::string_view get(std::string_view name) const;
    bool has(std::string_view name) const;
    std::size_t count(std::string_view name) const;
    /// Whether a comma-separated list field holds this token (any case).
    bool has_token(std::string_view name, std::string_view token) const;
    void add(std::string_view name, std::string_view value);
    void set(std::string_view name, std::string_view value);
    const std::vector<std::pair<std::string, std::string>>& all() const { return fields_; }

private:
    std::vector<std::pair<std::string, std::string>> fields_;
};

/// Start line and fields of a request.
struct HttpRequestHead {
    std::string method;
    std::string target;  ///< as sent, origin form
    int minor = 1;       ///< HTTP/1.minor
    HttpFields fields;
};
/// Status line and fields of a response.
struct HttpResponseHead {
    int status = 0;
    int minor = 1;
    HttpFields fields;
};

/// Parse a head without its final empty line (RFC 9112 §3–5). Strict: no folding, no space before the colon,
/// no control characters. Nothing if it is none.
std::optional<HttpRequestHead> parse_request_head(std::string_view text);
std::optional<HttpResponseHead> parse_response_head(std::string_view text);

/// How a message's body is delimited (RFC 9112 §6).
struct HttpFraming {
    enum class Kind { none, length, chunked, until_close };
    Kind kind = Kind::none;
    std::uint64_t length = 0;
};
/// Nothing if the fields contradict each other (two lengths, a length and chunks): such a message may be an
/// attempt to smuggle another one.
std::optional<HttpFraming> request_framing(const HttpRequestHead& head);
std::optional<HttpFraming> response_framing(const HttpResponseHead& head, bool head_request);

/// Decodes the chunked coding (RFC 9112 §7.1), from bytes in any portions.
class ChunkDecoder {
public:
    enum class State { more, done, failed };
    /// Takes bytes from the front of `input` and appends body bytes to `out`. What follows the last chunk
    /// stays in `input`.
    State feed(std::string_view& input, std::string& out);

private:
    enum class Step { size, data, data_end, trailer };
    Step step_ = Step::size;
    std::string line_;
    std::size_t trailer_bytes_ = 0;
    std::uint64_t left_ = 0;
};

/// A satisfiable single byte range of a representation of `size` bytes; first and last inclusive.
struct ByteRange {
    std::uint64_t first;
    std::uint64_t last;
};
enum class RangeKind { none, valid, unsatisfiable };  ///< none: no range or several, the whole is served
RangeKind parse_range(std::string_view header, std::uint64_t size, ByteRange& range);

/// Reason phrase of a status code.
std::string_view http_reason(int status);
/// Decodes %XX; nothing if malformed. A decoded zero byte is malformed.
std::optional<std::string> percent_decode(std::string_view text);
std::string percent_encode(std::string_view text);  ///< all but unreserved characters (RFC 3986 §2.3)
bool equals_ignoring_case(std::string_view a, std::string_view b);

}  // namespace hexad
