#include "hooks/archive_query.hpp"

#include <charconv>

#include "base/text.hpp"
#include "xmpp/data_form.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

Result<ArchiveQuery, StanzaError> read_archive_query(const Element& query, std::size_t page_limit) {
    ArchiveQuery out;
    out.limit = std::min<std::size_t>(50, page_limit);
    if (const auto* x = query.find("x", ns::data_forms)) {
        const auto form = read_form(*x);
        if (!form || form->form_type != ns::mam)
            return StanzaError::bad_request("the form is not an archive query");
        for (const auto& [var, values] : form->values) {
            if (var == "FORM_TYPE") continue;
            const auto value = values.empty() ? std::string() : values.front();
            if (var == "with") {
                auto jid = Jid::parse(value);
                if (!jid) return StanzaError::jid_malformed("with is no address");
                out.with = std::move(*jid);
            } else if (var == "start" || var == "end") {
                const auto at = parse_time(value);
                if (!at) return StanzaError::bad_request(var + " is no date");
                (var == "start" ? out.start : out.end) = *at;
            } else if (var == "before-id") {
                out.older_than = value;
            } else if (var == "after-id") {
                out.newer_than = value;
            } else if (var == "ids") {
                out.ids = values;
            } else if (var == "include-groupchat") {
                // An account's archive has none of it, so either wish is met.
                if (!form->boolean(var)) return StanzaError::bad_request(var + " is no boolean");
            } else {
                return StanzaError::feature_not_implemented("field " + var + " is not supported");
            }
        }
    }
    if (const auto* set = query.find("set", ns::rsm)) {
        if (set->find("index", ns::rsm) != nullptr) return StanzaError::feature_not_implemented();
        if (const auto* max = set->find("max", ns::rsm)) {
            const auto text = max->text();
            std::size_t value = 0;
            const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (ec != std::errc{} || end != text.data() + text.size())
                return StanzaError::bad_request("max is no number");
            out.limit = std::min(value, page_limit);
        }
        if (const auto* before = set->find("before", ns::rsm)) out.before_id = before->text();
        if (const auto* after = set->find("after", ns::rsm)) out.after_id = after->text();
    }
    return out;
}

std::vector<Bytes> archive_messages(const ArchivePage& page, const Element& query, const Jid& by,
                                    const Jid& to, const std::string& type) {
    std::vector<Bytes> out;
    const bool flip = query.find("flip-page", ns::mam) != nullptr;
    const auto one = [&](const ArchiveItem& item) {
        // The stored form goes out as it is: nothing is parsed to page an archive.
        std::string text = "<message from='";
        append_escaped(text, by.to_string(), true);
        text += "' to='";
        append_escaped(text, to.to_string(), true);
        text += '\'';
        if (!type.empty()) text += " type='" + type + '\'';
        text += "><result xmlns='urn:xmpp:mam:2' id='";
        append_escaped(text, item.stanza_id, true);
        text += '\'';
        if (query.has_attr("queryid")) {
            text += " queryid='";
            append_escaped(text, query.attr("queryid"), true);
            text += '\'';
        }
        text += "><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='" +
                format_time(item.at) + "'/>";
        constexpr std::string_view open = "<message";
        if (item.xml.starts_with(open)) {
            text += "<message xmlns='jabber:client'";
            text += std::string_view(item.xml).substr(open.size());
        } else {
            text += item.xml;
        }
        text += "</forwarded></result></message>";
        out.push_back(make_bytes(std::move(text)));
    };
    if (flip) {
        for (auto it = page.items.rbegin(); it != page.items.rend(); ++it) one(*it);
    } else {
        for (const auto& item : page.items) one(item);
    }
    return out;
}

Element archive_fin(const ArchivePage& page) {
    Element fin("fin", ns::mam);
    if (page.complete) fin.set("complete", "true");
    Element set("set", ns::rsm);
    if (!page.items.empty()) {
        Element first("first", ns::rsm);
        first.set("index", std::to_string(page.first_index));
        first.text(page.items.front().stanza_id);
        set.add(std::move(first));
        set.add_text_child("last", ns::rsm, page.items.back().stanza_id);
    }
    set.add_text_child("count", ns::rsm, std::to_string(page.count));
    fin.add(std::move(set));
    return fin;
}

Element archive_form(bool of_account) {
    std::vector<FormField> fields{
        {"with", "jid-single", "", {}, {}},      {"start", "text-single", "", {}, {}},
        {"end", "text-single", "", {}, {}},      {"before-id", "text-single", "", {}, {}},
        {"after-id", "text-single", "", {}, {}}, {"ids", "list-multi", "", {}, {}},
    };
    if (of_account) fields.push_back({"include-groupchat", "boolean", "", {}, {}});
    auto form = make_form("form", ns::mam, fields);
    // §4.1.5: the list of ids is open to any value.
    for (auto& child : form.children()) {
        auto* field = std::get_if<Element>(&child);
        if (field == nullptr || field->attr("var") != "ids") continue;
        Element validate("validate", ns::data_validate);
        validate.set("datatype", "xs:string").add(Element("open", ns::data_validate));
        field->add(std::move(validate));
    }
    Element query("query", ns::mam);
    query.add(std::move(form));
    return query;
}

Element archive_metadata(const std::optional<ArchiveSpan>& span) {
    Element metadata("metadata", ns::mam);
    if (span) {
        metadata.add(Element("start", ns::mam)
                         .set("id", span->first.stanza_id)
                         .set("timestamp", format_time(span->first.at)));
        metadata.add(Element("end", ns::mam)
                         .set("id", span->last.stanza_id)
                         .set("timestamp", format_time(span->last.at)));
    }
    return metadata;
}

}  // namespace hexad
