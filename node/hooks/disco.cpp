#include "hooks/disco.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

Element disco_info(const Hooks& hooks, const Target& target) {
    Element query("query", ns::disco_info);
    for (const auto& identity : hooks.identities(target)) {
        Element element("identity", ns::disco_info);
        element.set("category", identity.category).set("type", identity.type);
        if (!identity.name.empty()) element.set("name", identity.name);
        query.add(std::move(element));
    }
    for (const auto& feature : hooks.features(target)) {
        query.add(Element("feature", ns::disco_info).set("var", feature));
    }
    for (const auto& form : hooks.info_forms(target)) query.add(form);
    return query;
}

std::string caps_hash(const Element& info) {
    std::vector<std::string> identities, features, forms;
    for (const auto* child : info.elements()) {
        if (child->name() == "identity") {
            std::string line(child->attr("category"));
            line += '/';
            line += child->attr("type");
            line += '/';
            line += child->attr("xml:lang");
            line += '/';
            line += child->attr("name");
            identities.push_back(std::move(line));
        } else if (child->name() == "feature") {
            features.emplace_back(child->attr("var"));
        } else if (child->is("x", ns::data_forms)) {
            std::string form_type;
            std::vector<std::string> fields;
            for (const auto* field : child->elements()) {
                std::vector<std::string> values;
                for (const auto* value : field->elements()) values.push_back(value->text());
                if (field->attr("var") == "FORM_TYPE") {
                    form_type = values.empty() ? "" : values.front();
                    continue;
                }
                std::sort(values.begin(), values.end());
                std::string text = std::string(field->attr("var")) + '<';
                for (const auto& value : values) text += value + '<';
                fields.push_back(std::move(text));
            }
            std::sort(fields.begin(), fields.end());
            std::string text = form_type + '<';
            for (const auto& field : fields) text += field;
            forms.push_back(std::move(text));
        }
    }
    std::sort(identities.begin(), identities.end());
    std::sort(features.begin(), features.end());
    std::sort(forms.begin(), forms.end());
    std::string text;
    for (const auto& line : identities) text += line + '<';
    for (const auto& line : features) text += line + '<';
    for (const auto& line : forms) text += line;
    return base64_encode(sha1(text));
}

Element server_caps(const Hooks& hooks) {
    return Element("c", ns::caps)
        .set("hash", "sha-1")
        .set("node", caps_node)
        .set("ver", caps_hash(disco_info(hooks, Target::server())));
}

}  // namespace hexad
