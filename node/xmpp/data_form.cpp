#include "xmpp/data_form.hpp"

#include "xmpp/namespaces.hpp"

namespace hexad {

Element make_form(std::string_view type, std::string_view form_type, const std::vector<FormField>& fields,
                  std::string_view title, std::string_view instructions) {
    Element x("x", ns::data_forms);
    x.set("type", type);
    if (!title.empty()) x.add_text_child("title", ns::data_forms, title);
    if (!instructions.empty()) x.add_text_child("instructions", ns::data_forms, instructions);
    const auto add_field = [&x](const FormField& field) {
        Element element("field", ns::data_forms);
        if (!field.var.empty()) element.set("var", field.var);
        if (!field.type.empty()) element.set("type", field.type);
        if (!field.label.empty()) element.set("label", field.label);
        if (field.required) element.add(Element("required", ns::data_forms));
        for (const auto& value : field.values) element.add_text_child("value", ns::data_forms, value);
        for (const auto& [label, value] : field.options) {
            Element option("option", ns::data_forms);
            if (!label.empty()) option.set("label", label);
            option.add_text_child("value", ns::data_forms, value);
            element.add(std::move(option));
        }
        x.add(std::move(element));
    };
    if (!form_type.empty())
        add_field({.var = "FORM_TYPE",
                   .type = "hidden",
                   .label = {},
                   .values = {std::string(form_type)},
                   .options = {},
                   .required = false});
    for (const auto& field : fields) add_field(field);
    return x;
}

std::optional<std::string> SubmittedForm::first(const std::string& var) const {
    const auto found = values.find(var);
    if (found == values.end() || found->second.empty()) return std::nullopt;
    return found->second.front();
}

std::optional<bool> SubmittedForm::boolean(const std::string& var) const {
    const auto value = first(var);
    if (value == "1" || value == "true") return true;
    if (value == "0" || value == "false") return false;
    return std::nullopt;
}

std::optional<SubmittedForm> read_form(const Element& x) {
    if (!x.is("x", ns::data_forms)) return std::nullopt;
    SubmittedForm form;
    form.type = x.attr("type");
    if (form.type != "submit" && form.type != "cancel") return std::nullopt;
    for (const auto* field : x.elements()) {
        if (!field->is("field", ns::data_forms)) continue;
        const std::string var(field->attr("var"));
        if (var.empty() || form.values.contains(var)) continue;  // the first one counts
        auto& values = form.values[var];
        for (const auto* value : field->elements())
            if (value->is("value", ns::data_forms)) values.push_back(value->text());
    }
    form.form_type = form.first("FORM_TYPE").value_or("");
    return form;
}

}  // namespace hexad
