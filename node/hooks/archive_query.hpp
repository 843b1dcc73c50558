#pragma once

#include <string>
#include <vector>

#include "hooks/hooks.hpp"
#include "storage/store.hpp"

namespace hexad {

/// XEP-0313 on the wire, shared by account and room archives.

/// Reads `<query xmlns='urn:xmpp:mam:2'>` with its form and RSM set. Errors: bad-request (bad form values),
/// feature-not-implemented (a field that is not supported, RSM index), item limits are clamped to
/// `page_limit`.
Result<ArchiveQuery, StanzaError> read_archive_query(const Element& query, std::size_t page_limit);
/// The `<message><result>…` stanzas of a page, `by` = whose archive, `to` = who asked.
std::vector<Bytes> archive_messages(const ArchivePage& page, const Element& query, const Jid& by,
                                    const Jid& to, const std::string& type = {});
/// `<fin/>` with the RSM set (§4.2).
Element archive_fin(const ArchivePage& page);
/// The form of supported fields (§4.1.5); that of an account has include-groupchat too.
Element archive_form(bool of_account = false);
/// `<metadata/>` (§6).
Element archive_metadata(const std::optional<ArchiveSpan>& span);

}  // namespace hexad
