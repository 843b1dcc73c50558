#include "xml/stanza_parser.hpp"

#include <algorithm>
#include <new>
#include <ostream>
#include <sys/random.h>
#include <vector>

#include <expat.h>

#include "base/text.hpp"
#include "xml/parser_memory.hpp"

namespace hexad {
namespace {

constexpr std::string_view streams_ns = "http://etherx.jabber.org/streams";
constexpr std::string_view xml_ns = "http://www.w3.org/XML/1998/namespace";
constexpr char separator = '\x01';  // cannot occur in XML, so a namespace cannot forge a name

/// Expat keeps every element and attribute name it has ever seen. After this many bytes the parser is
/// replaced between two stanzas, so that a peer that invents names cannot grow it for the life of the stream.
constexpr std::size_t renew_after = 256 * 1024;
/// What one incomplete tag may hold: expat scans it anew for each portion that arrives.
constexpr std::size_t max_tag = 64 * 1024;
constexpr std::size_t slice = 16 * 1024;

/// An expat parser with its memory.
class Expat {
public:
    Expat() = default;
    ~Expat() { reset(); }
    Expat(const Expat&) = delete;
    Expat& operator=(const Expat&) = delete;

    void create() {
        reset();
        const ParserMemory::Use use(memory_);
        parser_ = XML_ParserCreate_MM("UTF-8", &ParserMemory::suite(), &separator);
        if (parser_ == nullptr) throw std::bad_alloc();
    }
    void reset() {
        if (parser_ == nullptr) return;
        {
            const ParserMemory::Use use(memory_);
            XML_ParserFree(parser_);
        }
        parser_ = nullptr;
        memory_.release();
    }
    bool parse(const char* data, std::size_t size) {
        const ParserMemory::Use use(memory_);
        return XML_Parse(parser_, data, static_cast<int>(size), XML_FALSE) != XML_STATUS_ERROR;
    }
    XML_Parser get() const { return parser_; }
    explicit operator bool() const { return parser_ != nullptr; }

private:
    ParserMemory memory_;
    XML_Parser parser_ = nullptr;
};

unsigned long hash_salt() {
    static const unsigned long salt = [] {
        unsigned long value = 0;
        if (::getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value) || value == 0)
            value = reinterpret_cast<unsigned long>(&value);
        return value;
    }();
    return salt;
}

struct Name {
    std::string_view ns;
    std::string_view local;
};

Name split(const char* name) {
    const std::string_view text(name);
    const auto at = text.find(separator);
    if (at == std::string_view::npos) return {{}, text};
    return {text.substr(0, at), text.substr(at + 1)};
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

XmlError to_error(enum XML_Error code) {
    switch (code) {
        case XML_ERROR_UNKNOWN_ENCODING:
        case XML_ERROR_INCORRECT_ENCODING:
            return XmlError::bad_encoding;
        case XML_ERROR_UNDEFINED_ENTITY:
        case XML_ERROR_BINARY_ENTITY_REF:
        case XML_ERROR_RECURSIVE_ENTITY_REF:
        case XML_ERROR_ASYNC_ENTITY:
        case XML_ERROR_PARAM_ENTITY_REF:
        case XML_ERROR_EXTERNAL_ENTITY_HANDLING:
            return XmlError::restricted_xml;
        default:
            return XmlError::not_well_formed;
    }
}

}  // namespace

struct StanzaParser::Impl {
    XmlLimits limits;
    Expat parser;
    std::vector<Event> events;
    std::size_t taken = 0;  // of these

    // Byte positions count from the start of the current expat parser, the replayed header included.
    std::size_t fed = 0;       // bytes given to expat
    std::size_t replayed = 0;  // of these, the replayed header
    std::size_t boundary = 0;  // where the last header or stanza ended
    std::string header;        // the stream header's bytes, to be replayed into a new parser
    std::size_t header_size = 0;

    bool has_header = false;
    bool started = false;    // a byte other than leading white space was seen
    bool replaying = false;  // the stream header is fed a second time: no events
    bool renewing = false;   // expat was stopped at the end of a stanza, to be replaced
    bool ended = false;      // footer or error was delivered
    std::size_t depth = 0;   // open elements, the stream element included
    std::string content_ns;
    Element stanza;
    std::vector<Element*> open;  // from the stanza down; each the last child of the one before, so none moves

    explicit Impl(XmlLimits l) : limits(l) {}

    void create();
    void push(const char* data, std::size_t size);
    void check_sizes();
    void feed(std::string_view bytes);
    void fail(XmlError error);
    static void restricted(void* self) { static_cast<Impl*>(self)->fail(XmlError::restricted_xml); }
    void start_element(const char* name, const char** attributes);
    void end_element();
    void characters(std::string_view text);

    bool breaks_utf8() const;
    std::size_t position() const { return static_cast<std::size_t>(XML_GetCurrentByteIndex(parser.get())); }
    std::size_t end_position() const {
        return position() + static_cast<std::size_t>(XML_GetCurrentByteCount(parser.get()));
    }
};

void StanzaParser::Impl::create() {
    parser.create();
    auto* p = parser.get();
    XML_SetHashSalt(p, hash_salt());
#ifdef HEXAD_EXPAT_DEFERS
    XML_SetReparseDeferralEnabled(p, XML_FALSE);
#endif
    XML_SetUserData(p, this);
    XML_SetElementHandler(
        p,
        [](void* self, const char* name, const char** attributes) {
            static_cast<Impl*>(self)->start_element(name, attributes);
        },
        [](void* self, const char*) { static_cast<Impl*>(self)->end_element(); });
    XML_SetCharacterDataHandler(p, [](void* self, const char* text, int length) {
        static_cast<Impl*>(self)->characters({text, static_cast<std::size_t>(length)});
    });
    XML_SetStartNamespaceDeclHandler(p, [](void* self, const char* prefix, const char* uri) {
        auto* impl = static_cast<Impl*>(self);
        if (impl->depth == 0 && prefix == nullptr) impl->content_ns = uri != nullptr ? uri : "";
    });
    XML_SetXmlDeclHandler(p, [](void* self, const char* version, const char* encoding, int) {
        auto* impl = static_cast<Impl*>(self);
        if (version == nullptr || std::string_view(version) != "1.0") impl->fail(XmlError::not_well_formed);
        if (encoding == nullptr) return;
        std::string lower(encoding);
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](unsigned char c) { return std::tolower(c); });
        if (lower != "utf-8") impl->fail(XmlError::bad_encoding);
    });
    // Between stanzas a CDATA section is text, even an empty one; and there the parser must be free to be
    // replaced.
    XML_SetStartCdataSectionHandler(p, [](void* self) {
        auto* impl = static_cast<Impl*>(self);
        if (impl->depth < 2) impl->fail(XmlError::text_outside_stanza);
    });
    XML_SetCommentHandler(p, [](void* self, const char*) { restricted(self); });
    XML_SetProcessingInstructionHandler(p, [](void* self, const char*, const char*) { restricted(self); });
    XML_SetStartDoctypeDeclHandler(
        p, [](void* self, const char*, const char*, const char*, int) { restricted(self); });
    fed = replayed = boundary = depth = 0;
    if (has_header) {
        replaying = true;
        push(header.data(), header.size());
        replaying = false;
        replayed = boundary = fed;
    }
}

void StanzaParser::Impl::fail(XmlError error) {
    if (ended || renewing) return;
    ended = true;
    events.push_back({Kind::error, {}, {}, error});
    if (parser) XML_StopParser(parser.get(), XML_FALSE);
}

void StanzaParser::Impl::start_element(const char* name, const char** attributes) {
    if (ended || renewing) return;
    ++depth;
    if (replaying) return;
    const auto qname = split(name);
    const bool is_header = depth == 1;
    if (is_header && (qname.local != "stream" || qname.ns != streams_ns))
        return fail(XmlError::bad_namespace_prefix);
    if (depth - 1 > limits.max_depth) return fail(XmlError::too_deep);
    if (depth == 2) boundary = position();

    Element* element = &stanza;
    if (depth <= 2) {
        stanza = Element(qname.local, qname.ns);
    } else {
        auto& siblings = open.back()->children();
        if (siblings.capacity() == 0) siblings.reserve(4);
        siblings.emplace_back(std::in_place_type<Element>, qname.local, qname.ns);
        element = &std::get<Element>(siblings.back());
    }
    std::size_t count = 0;
    while (attributes[2 * count] != nullptr) ++count;
    if (count > limits.max_attributes) return fail(XmlError::stanza_too_big);
    element->attributes().reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        const auto attribute = split(attributes[2 * i]);
        std::string attribute_name;
        if (attribute.ns.empty()) {
            attribute_name = attribute.local;
        } else if (attribute.ns == xml_ns) {
            attribute_name.append("xml:").append(attribute.local);
        } else {
            attribute_name.append("{").append(attribute.ns).append("}").append(attribute.local);
        }
        element->attributes().push_back({std::move(attribute_name), attributes[2 * i + 1]});
    }
    if (is_header) {
        boundary = header_size = end_position();
        has_header = true;
        if (boundary > limits.max_header) return fail(XmlError::stanza_too_big);
        events.push_back({Kind::header, std::move(stanza), content_ns});
        stanza = {};
    } else {
        open.push_back(element);
    }
}

void StanzaParser::Impl::end_element() {
    if (ended || renewing) return;
    --depth;
    if (depth >= 2) {
        open.pop_back();
    } else if (depth == 1) {
        const auto end = end_position();
        if (end - boundary > limits.max_stanza) return fail(XmlError::stanza_too_big);
        boundary = end;
        open.clear();
        events.push_back({Kind::stanza, std::move(stanza), {}});
        stanza = {};
        if (end - replayed > renew_after) {
            renewing = true;
            XML_StopParser(parser.get(), XML_FALSE);
        }
    } else {
        events.push_back({Kind::footer, {}, {}});
        ended = true;
        XML_StopParser(parser.get(), XML_FALSE);
    }
}

void StanzaParser::Impl::characters(std::string_view text) {
    if (ended || renewing) return;
    if (!open.empty()) {
        open.back()->text(text);
        return;
    }
    if (depth == 1 && !std::all_of(text.begin(), text.end(), is_space)) fail(XmlError::text_outside_stanza);
}

void StanzaParser::Impl::push(const char* data, std::size_t size) {
    fed += size;
    if (parser.parse(data, size) || ended || renewing) return;
    fail(breaks_utf8() ? XmlError::bad_encoding : to_error(XML_GetErrorCode(parser.get())));
}

/// Expat calls both an invalid token: a byte that is no UTF-8, and a character that XML has no place for.
bool StanzaParser::Impl::breaks_utf8() const {
    if (XML_GetErrorCode(parser.get()) != XML_ERROR_INVALID_TOKEN) return false;
    int at = 0;
    int size = 0;
    const char* input = XML_GetInputContext(parser.get(), &at, &size);
    if (input == nullptr || at < 0 || at >= size) return false;
    const auto rest =
        std::string_view(input, static_cast<std::size_t>(size)).substr(static_cast<std::size_t>(at));
    const auto lead = static_cast<unsigned char>(rest.front());
    const std::size_t length = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    // A character of which only the beginning has come is wrong where it stands; its bytes may yet be right.
    const auto may_begin = lead >= 0xc2 && lead < 0xf5;
    return rest.size() < length ? !may_begin : !is_utf8(rest.substr(0, length));
}

/// Limits on what is still incomplete: nobody holds memory by never closing a tag or a stanza.
void StanzaParser::Impl::check_sizes() {
    if (ended) return;
    if (!has_header) {
        if (fed > limits.max_header) fail(XmlError::stanza_too_big);
        return;
    }
    const auto here = position();
    const auto incomplete = fed > here ? fed - here : 0;  // an unfinished tag
    const auto held = open.empty() ? incomplete : fed - boundary;
    if (held > limits.max_stanza || incomplete > max_tag) fail(XmlError::stanza_too_big);
}

void StanzaParser::Impl::feed(std::string_view bytes) {
    if (!started) {
        // White space between a SASL success and the new header would make the XML declaration misplaced.
        while (!bytes.empty() && is_space(bytes.front())) bytes.remove_prefix(1);
        if (bytes.empty()) return;
        started = true;
        if (bytes.front() != '<') return fail(XmlError::not_well_formed);
    }
    while (!bytes.empty() && !ended) {
        if (!parser) create();
        const auto part = bytes.substr(0, slice);
        if (!has_header) {
            // Expat takes a zero byte after the first "<" for UTF-16, whatever encoding it was told.
            if (fed < 2 && fed + part.size() >= 2 && part[1 - fed] == '\0')
                return fail(XmlError::bad_encoding);
            header.append(part.substr(0, limits.max_header + 1));
        }
        const bool had_header = has_header;
        push(part.data(), part.size());
        if (!had_header && has_header && !ended) {
            header.resize(header_size);
            header.shrink_to_fit();
        }
        if (renewing) {
            renewing = false;
            bytes.remove_prefix(part.size() - (fed - boundary));
            create();
            continue;
        }
        bytes.remove_prefix(part.size());
        check_sizes();
    }
}

StanzaParser::StanzaParser(XmlLimits limits) : impl_(std::make_unique<Impl>(limits)) {}
StanzaParser::~StanzaParser() = default;
StanzaParser::StanzaParser(StanzaParser&&) noexcept = default;
StanzaParser& StanzaParser::operator=(StanzaParser&&) noexcept = default;

void StanzaParser::feed(std::string_view bytes) {
    if (!impl_->ended) impl_->feed(bytes);
}

std::optional<StanzaParser::Event> StanzaParser::next() {
    auto& events = impl_->events;
    if (impl_->taken == events.size()) return std::nullopt;
    std::optional<Event> event(std::move(events[impl_->taken]));
    if (++impl_->taken == events.size()) {
        events.clear();
        impl_->taken = 0;
    }
    return event;
}

void StanzaParser::reset() { impl_ = std::make_unique<Impl>(impl_->limits); }
void StanzaParser::set_limits(XmlLimits limits) { impl_->limits = limits; }

bool StanzaParser::between_stanzas() const {
    return impl_->open.empty() && (!impl_->parser || impl_->position() >= impl_->fed);
}

void StanzaParser::release_memory() {
    if (!impl_->has_header || impl_->ended || !between_stanzas()) return;
    impl_->parser.reset();
    impl_->open.shrink_to_fit();
    if (impl_->events.empty()) impl_->events.shrink_to_fit();
}

std::ostream& operator<<(std::ostream& out, XmlError error) {
    constexpr std::string_view names[] = {"not well-formed",    "restricted XML", "not UTF-8",
                                          "wrong namespace",    "stanza too big", "too deep",
                                          "text outside stanza"};
    return out << names[static_cast<int>(error)];
}

Result<Element, XmlError> parse_element(std::string_view text, std::string_view default_ns,
                                        XmlLimits limits) {
    if (text.size() > limits.max_stanza) return XmlError::stanza_too_big;
    // A parser that stands between two stanzas serves the next call too: making one costs more than a short
    // element.
    thread_local std::optional<StanzaParser> parser;
    thread_local std::string parser_ns;
    if (!parser || parser_ns != default_ns) {
        std::string header = "<stream:stream xmlns:stream='";
        header.append(streams_ns).append("' xmlns='");
        append_escaped(header, default_ns, true);
        header += "'>";
        XmlLimits wide = limits;
        wide.max_header = std::max(limits.max_header, header.size());
        parser.emplace(wide);
        parser->feed(header);
        parser_ns = default_ns;
        const auto event = parser->next();
        if (!event || event->kind != StanzaParser::Kind::header) {
            parser.reset();
            return XmlError::bad_namespace_prefix;
        }
    }
    parser->set_limits(limits);
    parser->feed(text);
    auto first = parser->next();
    if (first && first->kind == StanzaParser::Kind::stanza && !parser->next() && parser->between_stanzas())
        return std::move(first->element);
    parser.reset();
    return first && first->kind == StanzaParser::Kind::error ? first->error : XmlError::not_well_formed;
}

}  // namespace hexad
