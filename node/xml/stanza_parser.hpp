#pragma once

#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "xml/element.hpp"

namespace hexad {

/// Why a stream's XML cannot go on; each names its RFC 6120 §4.9.3 stream error.
enum class XmlError {
    not_well_formed,  ///< not-well-formed: syntax, duplicate attribute, undeclared prefix, bad UTF-8
    restricted_xml,   ///< restricted-xml: comment, processing instruction, DTD, entity other than the five
    bad_encoding,     ///< unsupported-encoding: anything but UTF-8
    bad_namespace_prefix,  ///< bad-namespace-prefix / invalid-namespace for the stream header
    stanza_too_big,        ///< policy-violation
    too_deep,              ///< policy-violation
    text_outside_stanza    ///< bad-format: non-white-space between stanzas
};

std::ostream& operator<<(std::ostream&, XmlError);

struct XmlLimits {
    std::size_t max_stanza = 262144;  ///< bytes of one first-level child, from `<` to `>`
    std::size_t max_header = 4096;    ///< bytes until the stream header is complete
    std::size_t max_depth = 64;       ///< nesting below the stream element
    std::size_t max_attributes = 64;  ///< per element
};

/// Parses one XML stream (RFC 6120 §4, §11): header, stanzas, footer, from bytes in any portions.
///
/// feed() takes bytes; next() then gives what they completed, until it gives nothing. The first error ends
/// the stream: next() gives it once, and nothing after. Between stanzas only white space is allowed. No
/// sockets, not thread safe.
class StanzaParser {
public:
    enum class Kind { header, stanza, footer, error };
    struct Event {
        Kind kind;
        Element element;         ///< header (attributes; child namespace in `content_ns`) or stanza
        std::string content_ns;  ///< header only: the default namespace declared for content
        XmlError error = XmlError::not_well_formed;
    };

    explicit StanzaParser(XmlLimits limits = {});
    ~StanzaParser();
    StanzaParser(StanzaParser&&) noexcept;
    StanzaParser& operator=(StanzaParser&&) noexcept;

    void feed(std::string_view bytes);
    std::optional<Event> next();
    /// Starts a new stream on the same connection (after STARTTLS or SASL success). Unread events are
    /// dropped.
    void reset();
    void set_limits(XmlLimits limits);
    /// True when no stanza is half read (used before an idle connection gives memory back).
    bool between_stanzas() const;
    /// Between stanzas: gives back the parser's buffers (about 10 KiB); the next bytes make them anew from
    /// the header that is kept. Does nothing at any other time.
    void release_memory();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Parses one complete element, e.g. what the store holds; `default_ns` is in scope at the start. Same limits
/// and refusals as a stream.
Result<Element, XmlError> parse_element(std::string_view text, std::string_view default_ns = "jabber:client",
                                        XmlLimits limits = {});

}  // namespace hexad
