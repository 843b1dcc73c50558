#include "xmpp/jid.hpp"

#include <arpa/inet.h>
#include <array>
#include <ostream>
#include <stdexcept>

#include <unicode/uidna.h>
#include <unicode/usprep.h>
#include <unicode/ustring.h>

namespace hexad {
namespace {

constexpr std::size_t max_part = 1023;
/// Longer input cannot become a valid part: the profiles shorten, but no sender writes such an address in
/// good faith.
constexpr std::size_t max_raw = 4 * max_part;

constexpr std::uint8_t local_ok = 1;     // Nodeprep leaves it as it is
constexpr std::uint8_t resource_ok = 2;  // so does Resourceprep
constexpr std::uint8_t domain_ok = 4;
constexpr std::uint8_t upper = 8;  // local and domain: lower-cased

constexpr auto classes = [] {
    std::array<std::uint8_t, 128> table{};
    for (int c = 0x20; c < 0x7f; ++c) table[c] = resource_ok;
    for (int c = 0x21; c < 0x7f; ++c) table[c] |= local_ok;
    for (const char c : std::string_view("\"&'/:<>@")) table[static_cast<int>(c)] &= ~local_ok;
    for (int c = 'A'; c <= 'Z'; ++c) table[c] = resource_ok | upper;
    for (int c = 'a'; c <= 'z'; ++c) table[c] |= domain_ok;
    for (int c = '0'; c <= '9'; ++c) table[c] |= domain_ok;
    table['-'] |= domain_ok;
    table['_'] |= domain_ok;  // not a host name's letter, but lab and container names have it
    table['.'] |= domain_ok;
    return table;
}();

/// Copies `text` lower-cased if every character is in `accepted` (or upper case, where `fold`); nothing
/// otherwise.
bool copy_ascii(std::string_view text, std::uint8_t accepted, bool fold, std::string& out) {
    out.resize(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (c >= 128) return false;
        if (classes[c] & accepted) {
            out[i] = static_cast<char>(c);
        } else if (fold && (classes[c] & upper)) {
            out[i] = static_cast<char>(c | 0x20);
        } else {
            return false;
        }
    }
    return true;
}

const UStringPrepProfile* profile(UStringPrepProfileType type) {
    UErrorCode status = U_ZERO_ERROR;
    auto* opened = usprep_openByType(type, &status);
    if (U_FAILURE(status))
        throw std::runtime_error(std::string("ICU has no stringprep profile: ") + u_errorName(status));
    return opened;
}

/// One pass of a stringprep profile over UTF-8.
bool run_profile(const UStringPrepProfile* prep, std::int32_t options, std::string_view text,
                 std::string& out) {
    UErrorCode status = U_ZERO_ERROR;
    UChar wide[max_raw];
    std::int32_t wide_size = 0;
    u_strFromUTF8(wide, max_raw, &wide_size, text.data(), static_cast<std::int32_t>(text.size()), &status);
    if (U_FAILURE(status)) return false;
    UChar prepared[2 * max_raw];
    const auto size = usprep_prepare(prep, wide, wide_size, prepared, 2 * max_raw, options, nullptr, &status);
    if (U_FAILURE(status)) return false;
    out.resize(static_cast<std::size_t>(size) * 3);
    std::int32_t bytes = 0;
    u_strToUTF8(out.data(), static_cast<std::int32_t>(out.size()), &bytes, prepared, size, &status);
    if (U_FAILURE(status)) return false;
    out.resize(static_cast<std::size_t>(bytes));
    return true;
}

/// Prepares until nothing changes: an address must be equal to its own preparation, or two forms of it would
/// both be "prepared". The profiles need one pass for all but a handful of code points.
bool run_stable(const UStringPrepProfile* prep, std::int32_t options, std::string_view text,
                std::string& out) {
    if (!run_profile(prep, options, text, out)) return false;
    for (int i = 0; i < 3; ++i) {
        std::string again;
        if (!run_profile(prep, options, out, again)) return false;
        if (again == out) return true;
        out = std::move(again);
    }
    return false;
}

bool labels_ok(std::string_view domain) {
    std::size_t start = 0;
    while (true) {
        auto end = domain.find('.', start);
        if (end == std::string_view::npos) end = domain.size();
        const auto label = domain.substr(start, end - start);
        if (label.empty() || label.front() == '-' || label.back() == '-') return false;
        bool ascii = true;
        for (const char c : label) {
            const auto byte = static_cast<unsigned char>(c);
            if (byte >= 128) {
                ascii = false;
            } else if (!(classes[byte] & domain_ok)) {
                return false;
            }
        }
        if (ascii && label.size() > 63) return false;
        if (end == domain.size()) return true;
        start = end + 1;
    }
}

const UIDNA* idna() {
    static const UIDNA* instance = [] {
        UErrorCode status = U_ZERO_ERROR;
        const auto* opened =
            uidna_openUTS46(UIDNA_CHECK_BIDI | UIDNA_CHECK_CONTEXTJ | UIDNA_NONTRANSITIONAL_TO_ASCII |
                                UIDNA_NONTRANSITIONAL_TO_UNICODE,
                            &status);
        if (U_FAILURE(status))
            throw std::runtime_error(std::string("ICU has no UTS 46: ") + u_errorName(status));
        return opened;
    }();
    return instance;
}

template <class Convert>
bool run_idna(Convert convert, std::string_view text, std::string& out) {
    UErrorCode status = U_ZERO_ERROR;
    UIDNAInfo info = UIDNA_INFO_INITIALIZER;
    char buffer[2 * max_raw];
    const auto size = convert(idna(), text.data(), static_cast<std::int32_t>(text.size()), buffer,
                              static_cast<std::int32_t>(sizeof buffer), &info, &status);
    if (U_FAILURE(status) || info.errors != 0) return false;
    out.assign(buffer, static_cast<std::size_t>(size));
    return true;
}

/// U-labels of a domain name (UTS 46, non-transitional); also checks that it has an ASCII form.
bool idn_to_unicode(std::string_view text, std::string& out) {
    std::string ascii;
    std::string again;
    return run_idna(uidna_nameToUnicodeUTF8, text, out) && run_idna(uidna_nameToUnicodeUTF8, out, again) &&
           again == out && run_idna(uidna_nameToASCII_UTF8, out, ascii) && labels_ok(ascii);
}

Result<std::string, JidError> checked_size(std::string part, JidError when_empty) {
    if (part.empty()) return when_empty;
    if (part.size() > max_part) return JidError::too_long;
    return part;
}

}  // namespace

Result<std::string, JidError> prepare_local(std::string_view text) {
    if (text.size() > max_raw) return JidError::too_long;
    std::string out;
    if (!copy_ascii(text, local_ok, true, out)) {
        static const auto* prep = profile(USPREP_RFC3920_NODEPREP);
        if (!run_stable(prep, USPREP_DEFAULT, text, out)) return JidError::bad_localpart;
    }
    return checked_size(std::move(out), JidError::bad_localpart);
}

Result<std::string, JidError> prepare_resource(std::string_view text) {
    if (text.size() > max_raw) return JidError::too_long;
    std::string out;
    if (!copy_ascii(text, resource_ok, false, out)) {
        // Unassigned in Unicode 3.2 is allowed here: nicknames have emoji.
        static const auto* prep = profile(USPREP_RFC3920_RESOURCEPREP);
        if (!run_stable(prep, USPREP_ALLOW_UNASSIGNED, text, out)) return JidError::bad_resourcepart;
    }
    return checked_size(std::move(out), JidError::bad_resourcepart);
}

Result<std::string, JidError> prepare_domain(std::string_view text) {
    if (text.empty()) return JidError::no_domain;
    if (text.size() > max_raw) return JidError::too_long;
    if (text.front() == '[') {
        if (text.back() != ']' || text.size() > 48) return JidError::bad_domainpart;
        const std::string literal(text.substr(1, text.size() - 2));
        in6_addr address{};
        char canonical[INET6_ADDRSTRLEN];
        if (literal.size() + 2 != text.size() || literal.find('\0') != std::string::npos ||
            ::inet_pton(AF_INET6, literal.c_str(), &address) != 1 ||
            ::inet_ntop(AF_INET6, &address, canonical, sizeof canonical) == nullptr)
            return JidError::bad_domainpart;
        return '[' + std::string(canonical) + ']';
    }
    std::string out;
    const bool ascii = copy_ascii(text, domain_ok, true, out);
    // Labels with hyphens in third and fourth place are IDNA's business ("xn--").
    if (ascii && out.find("--") == std::string::npos) {
        if (out.back() == '.') out.pop_back();
    } else {
        auto name = text;
        for (const std::string_view dot : {".", "\xe3\x80\x82", "\xef\xbc\x8e", "\xef\xbd\xa1"}) {
            if (name.ends_with(dot)) {
                name.remove_suffix(dot.size());
                break;
            }
        }
        if (!idn_to_unicode(name, out)) return JidError::bad_domainpart;
    }
    if (out.empty() || !labels_ok(out)) return JidError::bad_domainpart;
    if (out.size() > max_part) return JidError::too_long;
    return out;
}

Result<Jid, JidError> Jid::make(std::string_view local, std::string_view domain, std::string_view resource) {
    Jid jid;
    if (!local.empty()) {
        auto prepared = prepare_local(local);
        if (!prepared) return prepared.error();
        jid.text_ = std::move(*prepared);
        jid.local_ = static_cast<std::uint16_t>(jid.text_.size());
        jid.text_ += '@';
    }
    const auto host = prepare_domain(domain);
    if (!host) return host.error();
    jid.text_ += *host;
    jid.domain_end_ = static_cast<std::uint16_t>(jid.text_.size());
    if (resource.empty()) return jid;
    return jid.with_resource(resource);
}

Result<Jid, JidError> Jid::parse(std::string_view text) {
    std::string_view resource;
    std::string_view local;
    if (const auto slash = text.find('/'); slash != std::string_view::npos) {
        resource = text.substr(slash + 1);
        text = text.substr(0, slash);
        if (resource.empty()) return JidError::bad_resourcepart;
    }
    if (const auto at = text.find('@'); at != std::string_view::npos) {
        local = text.substr(0, at);
        text.remove_prefix(at + 1);
        if (local.empty()) return JidError::bad_localpart;
    }
    return make(local, text, resource);
}

Jid Jid::bare() const {
    Jid jid;
    jid.text_ = bare_view();
    jid.local_ = local_;
    jid.domain_end_ = domain_end_;
    return jid;
}

Jid Jid::domain_jid() const {
    Jid jid;
    jid.text_ = domain();
    jid.domain_end_ = static_cast<std::uint16_t>(jid.text_.size());
    return jid;
}

Result<Jid, JidError> Jid::with_resource(std::string_view resource) const {
    const auto prepared = prepare_resource(resource);
    if (!prepared) return prepared.error();
    Jid jid;
    jid.text_.reserve(domain_end_ + 1u + prepared->size());
    jid.text_.append(bare_view()).append("/").append(*prepared);
    jid.local_ = local_;
    jid.domain_end_ = domain_end_;
    return jid;
}

std::ostream& operator<<(std::ostream& out, JidError error) {
    constexpr std::string_view names[] = {"no domain", "bad localpart", "bad domainpart", "bad resourcepart",
                                          "too long"};
    return out << names[static_cast<int>(error)];
}

std::ostream& operator<<(std::ostream& out, const Jid& jid) { return out << jid.to_string(); }

std::string escape_local(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        // A backslash is escaped only where it would read as an escape (XEP-0106 §4.2).
        static constexpr std::string_view codes[] = {"20", "22", "26", "27", "2f",
                                                     "3a", "3c", "3e", "40", "5c"};
        bool escape = std::string_view(" \"&'/:<>@").find(c) != std::string_view::npos;
        if (c == '\\') {
            for (const auto code : codes) escape = escape || text.substr(i + 1, 2) == code;
        }
        if (escape) {
            constexpr char digits[] = "0123456789abcdef";
            out += '\\';
            out += digits[static_cast<unsigned char>(c) >> 4];
            out += digits[static_cast<unsigned char>(c) & 15];
        } else {
            out += c;
        }
    }
    return out;
}

}  // namespace hexad
