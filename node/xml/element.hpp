#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace hexad {

/// Namespace and local name of an element.
struct QName {
    std::string ns;
    std::string name;
    friend auto operator<=>(const QName&, const QName&) = default;
};

/// An XML element as a value: name, namespace, attributes, children in order. Copying copies the tree.
///
///     Element("message", "jabber:client").set("to", "a@b").add(Element("body", "jabber:client").text("hi"))
///
/// Attribute names are local names; an attribute in a namespace is named `{namespace}local`, and `xml:lang`
/// is `xml:lang`. Text nodes are UTF-8, unescaped.
class Element {
public:
    using Child = std::variant<Element, std::string>;
    struct Attribute {
        std::string name;
        std::string value;
        friend bool operator==(const Attribute&, const Attribute&) = default;
    };

    Element() = default;
    Element(std::string_view name, std::string_view ns) : name_(name), ns_(ns) {}
    explicit Element(const QName& q) : name_(q.name), ns_(q.ns) {}

    const std::string& name() const { return name_; }
    const std::string& ns() const { return ns_; }
    bool is(std::string_view name, std::string_view ns) const { return name_ == name && ns_ == ns; }
    bool is(const QName& q) const { return name_ == q.name && ns_ == q.ns; }
    void rename(std::string_view name, std::string_view ns) { name_ = name, ns_ = ns; }

    /// Value of an attribute, empty if absent.
    std::string_view attr(std::string_view name) const;
    bool has_attr(std::string_view name) const;
    Element& set(std::string_view name, std::string_view value) &;
    Element&& set(std::string_view name, std::string_view value) && { return std::move(set(name, value)); }
    void remove_attr(std::string_view name);
    const std::vector<Attribute>& attributes() const { return attributes_; }
    std::vector<Attribute>& attributes() { return attributes_; }

    Element& add(Element child) &;
    Element&& add(Element child) && { return std::move(add(std::move(child))); }
    /// Appends a text node.
    Element& text(std::string_view text) &;
    Element&& text(std::string_view t) && { return std::move(text(t)); }
    /// `<name xmlns=ns>text</name>` as a child.
    Element& add_text_child(std::string_view name, std::string_view ns, std::string_view text) &;

    const std::vector<Child>& children() const { return children_; }
    std::vector<Child>& children() { return children_; }
    /// The child elements in order.
    std::vector<const Element*> elements() const;
    const Element* first_element() const;
    /// First child element with that name (and namespace); nullptr if none.
    const Element* find(std::string_view name, std::string_view ns) const;
    Element* find(std::string_view name, std::string_view ns);
    const Element* find_ns(std::string_view ns) const;  ///< first child element in that namespace
    /// Removes all child elements for which `predicate(element)` holds.
    template <class Predicate>
    void remove_if(Predicate predicate) {
        std::erase_if(children_, [&](const Child& c) {
            const auto* e = std::get_if<Element>(&c);
            return e != nullptr && predicate(*e);
        });
    }
    /// Concatenated direct text.
    std::string text() const;
    /// Text of the first such child, empty if none.
    std::string child_text(std::string_view name, std::string_view ns) const;

    /// The element as it stands inside an element whose default namespace is `parent_ns`.
    std::string to_string(std::string_view parent_ns = {}) const;
    void append_to(std::string& out, std::string_view parent_ns) const;

    friend bool operator==(const Element&, const Element&) = default;
    friend std::ostream& operator<<(std::ostream&, const Element&);

private:
    std::string name_;
    std::string ns_;
    std::vector<Attribute> attributes_;
    std::vector<Child> children_;
};

/// Escapes text (`&<>`) or, for attributes, quotes and white space too. Characters that XML 1.0 forbids are
/// dropped.
void append_escaped(std::string& out, std::string_view text, bool attribute);

}  // namespace hexad
