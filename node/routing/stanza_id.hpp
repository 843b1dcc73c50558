#pragma once

#include <cstdint>
#include <string>

#include "xml/element.hpp"

namespace hexad {

/// SHA-1 over what a message says: `to`, `type` and the children without delay and stanza ids, so that a
/// repeat is recognised whatever path it took.
std::string content_hash(const Element& message);

/// The stanza-id (XEP-0359) of the n-th stanza of a source, 32 hexadecimal digits. Derived, so that whoever
/// does the same step again gets the same id; with the content in it, because a client that resends in
/// another order after a failed resume would have a stanza taken for an earlier one.
std::string stanza_id_of(const std::string& source, std::uint64_t n, const std::string& hash);

}  // namespace hexad
