#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xml/element.hpp"

namespace hexad {

/// One field of a XEP-0004 form that is being built.
struct FormField {
    std::string var;
    std::string type;  ///< boolean, text-single, list-single, hidden, … ; empty = not given
    std::string label;
    std::vector<std::string> values;
    std::vector<std::pair<std::string, std::string>> options;  ///< label, value
    bool required = false;
};

/// Builds `<x xmlns='jabber:x:data' type=…>`; FORM_TYPE first as a hidden field unless empty.
Element make_form(std::string_view type, std::string_view form_type, const std::vector<FormField>& fields,
                  std::string_view title = {}, std::string_view instructions = {});

/// A submitted form: var → values.
struct SubmittedForm {
    std::string type;       ///< submit or cancel
    std::string form_type;  ///< FORM_TYPE, empty if none
    std::map<std::string, std::vector<std::string>> values;
    std::optional<std::string> first(const std::string& var) const;
    /// "1"/"true", "0"/"false"; nothing if absent or neither.
    std::optional<bool> boolean(const std::string& var) const;
};
std::optional<SubmittedForm> read_form(const Element& x);

}  // namespace hexad
