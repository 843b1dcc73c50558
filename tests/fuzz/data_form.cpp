// A submitted form that was read says the same when it is built again.
#include "xmpp/data_form.hpp"

#include <cstdint>

#include "require.hpp"
#include "xml/stanza_parser.hpp"

using namespace hexad;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto element = parse_element(text, "jabber:x:data");
    if (!element) return 0;
    const auto form = read_form(*element);
    if (!form) return 0;
    std::vector<FormField> fields;
    for (const auto& [var, values] : form->values) {
        FormField field;
        field.var = var;
        field.values = values;
        fields.push_back(std::move(field));
        form->boolean(var);
    }
    const auto built = make_form(form->type, {}, fields);
    const auto again = parse_element(built.to_string(), "", {.max_stanza = 1 << 22});
    REQUIRE_PROPERTY(again.has_value() && *again == built);
    const auto read = read_form(*again);
    REQUIRE_PROPERTY(read.has_value());
    REQUIRE_PROPERTY(read->values == form->values && read->form_type == form->form_type &&
                     read->type == form->type);
    return 0;
}
