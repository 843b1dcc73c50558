#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace hexad {

enum class JidError { no_domain, bad_localpart, bad_domainpart, bad_resourcepart, too_long };
std::ostream& operator<<(std::ostream&, JidError);

/// An XMPP address (RFC 7622 §3, with the stringprep profiles of RFC 6122), always prepared and valid. A
/// value.
class Jid {
public:
    Jid() = default;  ///< the empty address; only `empty()` and comparison make sense

    /// Parses and normalises an XMPP address.
    ///
    /// `text` is UTF-8 of the form `[local@]domain[/resource]`. The domainpart is lower-cased (IDNA: U-labels
    /// by UTS 46), and loses a trailing dot; the localpart is prepared with Nodeprep, the resourcepart with
    /// Resourceprep (ICU). Each part: 1 to 1023 bytes after that; an empty result is an error. Never throws:
    /// pass what the wire brings.
    ///
    ///     Jid::parse("Juliet@Capulet.LIT./balcony")->to_string() == "juliet@capulet.lit/balcony"
    static Result<Jid, JidError> parse(std::string_view text);
    /// From parts, each prepared; an empty `local` or `resource` means none.
    static Result<Jid, JidError> make(std::string_view local, std::string_view domain,
                                      std::string_view resource = {});

    std::string_view local() const { return std::string_view(text_).substr(0, local_); }
    std::string_view domain() const {
        const auto start = local_ == 0 ? 0 : local_ + 1u;
        return std::string_view(text_).substr(start, domain_end_ - start);
    }
    std::string_view resource() const {
        return domain_end_ == text_.size() ? std::string_view{}
                                           : std::string_view(text_).substr(domain_end_ + 1u);
    }
    bool empty() const { return text_.empty(); }
    bool is_bare() const { return domain_end_ == text_.size(); }
    bool is_full() const { return !is_bare(); }
    Jid bare() const;
    Jid domain_jid() const;
    /// The same bare address with this resourcepart (prepared); error as parse.
    Result<Jid, JidError> with_resource(std::string_view resource) const;
    /// `local@domain` without a copy.
    std::string_view bare_view() const { return std::string_view(text_).substr(0, domain_end_); }
    const std::string& to_string() const { return text_; }

    friend bool operator==(const Jid& a, const Jid& b) { return a.text_ == b.text_; }
    friend auto operator<=>(const Jid& a, const Jid& b) { return a.text_ <=> b.text_; }
    friend std::ostream& operator<<(std::ostream&, const Jid&);

private:
    std::string text_;
    std::uint16_t local_ = 0;       ///< length of the localpart
    std::uint16_t domain_end_ = 0;  ///< where the bare address ends
};

/// Prepares one localpart (Nodeprep) or resourcepart (Resourceprep). Same errors as parse.
Result<std::string, JidError> prepare_local(std::string_view text);
Result<std::string, JidError> prepare_resource(std::string_view text);
Result<std::string, JidError> prepare_domain(std::string_view text);
/// XEP-0106: escapes what a localpart may not hold (space " & ' / : < > @ \).
std::string escape_local(std::string_view text);

}  // namespace hexad

template <>
struct std::hash<hexad::Jid> {
    std::size_t operator()(const hexad::Jid& jid) const noexcept {
        return std::hash<std::string>{}(jid.to_string());
    }
};
