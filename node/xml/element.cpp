#include "xml/element.hpp"

#include <array>
#include <ostream>

namespace hexad {
namespace {

constexpr std::string_view xml_ns = "http://www.w3.org/XML/1998/namespace";

enum Class : std::uint8_t { plain, markup, attribute_only, forbidden, high };

constexpr auto classes = [] {
    std::array<Class, 256> table{};
    for (int i = 0; i < 0x20; ++i) table[i] = forbidden;
    for (int i = 0x80; i < 0x100; ++i) table[i] = high;
    table['&'] = table['<'] = table['>'] = table['\r'] = markup;  // a bare CR would be read back as LF
    table['\''] = table['"'] = table['\t'] = table['\n'] = attribute_only;
    return table;
}();

/// Length of the well-formed UTF-8 sequence at the front of `text` that XML 1.0 allows; 0 if there is none.
std::size_t sequence_length(std::string_view text) {
    const auto at = [&](std::size_t i) -> unsigned {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
    };
    const auto tail = [&](std::size_t i) { return (at(i) & 0xc0) == 0x80; };
    const unsigned lead = at(0);
    if (lead >= 0xc2 && lead <= 0xdf) return tail(1) ? 2 : 0;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (!tail(1) || !tail(2)) return 0;
        if (lead == 0xe0 && at(1) < 0xa0) return 0;
        if (lead == 0xed && at(1) > 0x9f) return 0;
        if (lead == 0xef && at(1) == 0xbf && at(2) >= 0xbe) return 0;  // U+FFFE, U+FFFF
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (!tail(1) || !tail(2) || !tail(3)) return 0;
        if (lead == 0xf0 && at(1) < 0x90) return 0;
        if (lead == 0xf4 && at(1) > 0x8f) return 0;
        return 4;
    }
    return 0;
}

std::string_view reference(char c) {
    switch (c) {
        case '&':
            return "&amp;";
        case '<':
            return "&lt;";
        case '>':
            return "&gt;";
        case '\'':
            return "&apos;";
        case '"':
            return "&quot;";
        case '\t':
            return "&#9;";
        case '\n':
            return "&#10;";
        default:
            return "&#13;";
    }
}

}  // namespace

void append_escaped(std::string& out, std::string_view text, bool attribute) {
    std::size_t start = 0;
    std::size_t i = 0;
    while (i < text.size()) {
        const auto kind = classes[static_cast<unsigned char>(text[i])];
        if (kind == plain || (kind == attribute_only && !attribute)) {
            ++i;
            continue;
        }
        if (kind == high) {
            if (const auto length = sequence_length(text.substr(i, 4))) {
                i += length;
                continue;
            }
        }
        out.append(text, start, i - start);
        if (kind == markup || kind == attribute_only) out += reference(text[i]);
        start = ++i;
    }
    out.append(text, start, i - start);
}

std::string_view Element::attr(std::string_view name) const {
    for (const auto& attribute : attributes_)
        if (attribute.name == name) return attribute.value;
    return {};
}

bool Element::has_attr(std::string_view name) const {
    for (const auto& attribute : attributes_)
        if (attribute.name == name) return true;
    return false;
}

Element& Element::set(std::string_view name, std::string_view value) & {
    for (auto& attribute : attributes_) {
        if (attribute.name == name) {
            attribute.value = value;
            return *this;
        }
    }
    attributes_.push_back({std::string(name), std::string(value)});
    return *this;
}

void Element::remove_attr(std::string_view name) {
    std::erase_if(attributes_, [&](const Attribute& attribute) { return attribute.name == name; });
}

Element& Element::add(Element child) & {
    children_.emplace_back(std::move(child));
    return *this;
}

Element& Element::text(std::string_view text) & {
    if (text.empty()) return *this;
    // Neighbouring text is one node, as a parser would read it back.
    auto* last = children_.empty() ? nullptr : std::get_if<std::string>(&children_.back());
    if (last != nullptr) {
        last->append(text);
    } else {
        children_.emplace_back(std::in_place_type<std::string>, text);
    }
    return *this;
}

Element& Element::add_text_child(std::string_view name, std::string_view ns, std::string_view text) & {
    Element child(name, ns);
    child.text(text);
    return add(std::move(child));
}

std::vector<const Element*> Element::elements() const {
    std::vector<const Element*> found;
    for (const auto& child : children_)
        if (const auto* element = std::get_if<Element>(&child)) found.push_back(element);
    return found;
}

const Element* Element::first_element() const {
    for (const auto& child : children_)
        if (const auto* element = std::get_if<Element>(&child)) return element;
    return nullptr;
}

const Element* Element::find(std::string_view name, std::string_view ns) const {
    for (const auto& child : children_)
        if (const auto* element = std::get_if<Element>(&child); element != nullptr && element->is(name, ns))
            return element;
    return nullptr;
}

Element* Element::find(std::string_view name, std::string_view ns) {
    return const_cast<Element*>(std::as_const(*this).find(name, ns));
}

const Element* Element::find_ns(std::string_view ns) const {
    for (const auto& child : children_)
        if (const auto* element = std::get_if<Element>(&child); element != nullptr && element->ns() == ns)
            return element;
    return nullptr;
}

std::string Element::text() const {
    std::string all;
    for (const auto& child : children_)
        if (const auto* text = std::get_if<std::string>(&child)) all += *text;
    return all;
}

std::string Element::child_text(std::string_view name, std::string_view ns) const {
    const auto* child = find(name, ns);
    return child != nullptr ? child->text() : std::string{};
}

std::string Element::to_string(std::string_view parent_ns) const {
    std::string out;
    append_to(out, parent_ns);
    return out;
}

void Element::append_to(std::string& out, std::string_view parent_ns) const {
    // The xml prefix is bound by definition, and its namespace may not be declared as a default.
    const bool in_xml_ns = ns_ == xml_ns;
    const auto inner_ns = in_xml_ns ? parent_ns : std::string_view(ns_);
    out += '<';
    if (in_xml_ns) out += "xml:";
    out += name_;
    if (inner_ns != parent_ns) {
        out += " xmlns='";
        append_escaped(out, inner_ns, true);
        out += '\'';
    }
    int prefixes = 0;
    for (const auto& attribute : attributes_) {
        if (attribute.name.starts_with('{')) {
            const auto end = attribute.name.rfind('}');
            const auto prefix = "ns" + std::to_string(++prefixes);
            out += " xmlns:" + prefix + "='";
            append_escaped(out, std::string_view(attribute.name).substr(1, end - 1), true);
            out += "' " + prefix + ':';
            out.append(attribute.name, end + 1);
        } else {
            out += ' ';
            out += attribute.name;
        }
        out += "='";
        append_escaped(out, attribute.value, true);
        out += '\'';
    }
    if (children_.empty()) {
        out += "/>";
        return;
    }
    out += '>';
    for (const auto& child : children_) {
        if (const auto* element = std::get_if<Element>(&child)) {
            element->append_to(out, inner_ns);
        } else {
            append_escaped(out, std::get<std::string>(child), false);
        }
    }
    out += "</";
    if (in_xml_ns) out += "xml:";
    out += name_;
    out += '>';
}

std::ostream& operator<<(std::ostream& out, const Element& element) { return out << element.to_string(); }

}  // namespace hexad
