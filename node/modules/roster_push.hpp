#pragma once

#include "storage/account.hpp"
#include "storage/batch.hpp"
#include "xml/element.hpp"

namespace hexad {

/// `<item/>` of a roster result or push (RFC 6121 §2.1.2).
Element roster_item(const RosterItem& item);
/// Pushes one item to the account's interested resources (§2.1.6); `removed`: subscription='remove'.
void push_roster(const AccountData& account, const RosterItem& item, bool removed, Batch& batch);
std::string_view subscription_name(Subscription s);

}  // namespace hexad
