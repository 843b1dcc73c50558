"""XML patterns: what a play says it receives, compared with what came.

A pattern is XML with `jabber:client` as default namespace and `stream` as a prefix. It matches an element that has
*at least* what it names: attributes with these values, children that match (each another one, in any order), this
text. `{any}` as value or text stands for anything but nothing, `{absent}` for an attribute that must not be there.
Two rules are stricter, because their absence means something: a stanza pattern without `type` does not match a
stanza with one (but a message without type is of type normal), and `{absent}` can be written as a child's text to
say that there must be no such child.
"""
import xml.etree.ElementTree as ET

CLIENT = "jabber:client"
STREAM = "http://etherx.jabber.org/streams"
STANZAS = {f"{{{CLIENT}}}{name}" for name in ("message", "presence", "iq")}
PREFIXES = {
    "jabber:client": "", STREAM: "stream", "urn:ietf:params:xml:ns:xmpp-stanzas": "se",
    "urn:ietf:params:xml:ns:xmpp-streams": "ste"}


def parse(pattern):
    """One element; the default namespace and the `stream` prefix need not be declared."""
    wrapped = f"<wrap xmlns='{CLIENT}' xmlns:stream='{STREAM}'>{pattern}</wrap>"
    try:
        root = ET.fromstring(wrapped)
    except ET.ParseError as error:
        raise ValueError(f"the play's own XML is broken: {error}: {pattern}")
    if len(root) != 1:
        raise ValueError(f"a pattern is one element: {pattern}")
    return root[0]


def _text_matches(wanted, got):
    wanted, got = (wanted or "").strip(), (got or "")
    if wanted in ("", "{absent}"):
        return True
    return bool(got) if wanted == "{any}" else wanted == got.strip()


def _type_matches(pattern, element):
    if pattern.tag not in STANZAS or "type" in pattern.attrib:
        return True
    got = element.get("type")
    return got is None or (got == "normal" and pattern.tag.endswith("}message"))


def matches(pattern, element):
    """Whether `element` has all that `pattern` names."""
    if pattern.tag != element.tag or not _type_matches(pattern, element):
        return False
    for name, wanted in pattern.attrib.items():
        got = element.get(name)
        if wanted == "{absent}":
            if got is not None:
                return False
        elif got is None or (wanted == "{any}" and got == "") or (wanted != "{any}" and wanted != got):
            return False
    if not _text_matches(pattern.text, element.text):
        return False
    forbidden = [child for child in pattern if (child.text or "").strip() == "{absent}"]
    if any(element.find(child.tag) is not None for child in forbidden):
        return False
    return _children_match([child for child in pattern if child not in forbidden], list(element))


def _children_match(patterns, children):
    """Each pattern gets a child of its own; tried with backtracking, stanzas are small."""
    if not patterns:
        return True
    for at, child in enumerate(children):
        if matches(patterns[0], child) and _children_match(patterns[1:], children[:at] + children[at + 1:]):
            return True
    return False


def show(element):
    """An element as readable XML, the usual namespaces without prefixes."""
    def write(node, outer):
        namespace, name = node.tag[1:].split("}") if node.tag[0] == "{" else ("", node.tag)
        prefix = "stream:" if namespace == STREAM else ""
        text = f"<{prefix}{name}"
        inner = outer
        if not prefix and namespace != outer:
            text += f" xmlns='{namespace}'"
            inner = namespace
        for key, value in node.attrib.items():
            key = key.replace("{http://www.w3.org/XML/1998/namespace}", "xml:")
            text += f" {key}='{_escape(value)}'"
        content = _escape(node.text or "") + "".join(write(child, inner) + _escape(child.tail or "") for child in node)
        return text + (f">{content}</{prefix}{name}>" if content else "/>")
    return write(element, CLIENT)


def _escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")
