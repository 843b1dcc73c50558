#include "storage/account.hpp"

namespace hexad {

void AccountChange::apply_to(AccountData& data) const {
    for (const auto& jid : remove) data.roster.erase(jid);
    for (const auto& item : put) data.roster.insert_or_assign(item.jid, item);
    for (const auto& jid : unblock) data.blocked.erase(jid);
    data.blocked.insert(block.begin(), block.end());
    if (archive) data.archive = *archive;
    data.version = base_version + 1;
    data.changed_by = author;
    if (changes_roster()) data.roster_version = data.version;
}

}  // namespace hexad
