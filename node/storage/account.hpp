#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

enum class Subscription : std::uint8_t { none = 0, to = 1, from = 2, both = 3 };

/// One contact of an account (RFC 6121 §2.1). The key is always text: the contact may live anywhere.
struct RosterItem {
    Jid jid;  ///< as added: usually bare
    std::string name;
    std::vector<std::string> groups;  ///< sorted, unique
    Subscription subscription = Subscription::none;
    bool ask = false;        ///< pending out: `ask='subscribe'`
    bool approved = false;   ///< pre-approval (RFC 6121 §3.4)
    std::string pending_in;  ///< the stored subscribe stanza (§3.1.3), empty = none
    bool listed = true;      ///< false: exists only for `pending_in`; not part of the roster (§A.2.2)

    bool has_to() const { return subscription == Subscription::to || subscription == Subscription::both; }
    bool has_from() const { return subscription == Subscription::from || subscription == Subscription::both; }
    friend bool operator==(const RosterItem&, const RosterItem&) = default;
};

enum class AccountState : std::uint8_t { active, disabled, missing, deactivated };
enum class AccountSource : std::uint8_t { local, ldap };
/// XEP-0313 §7: what is archived without a rule of its own.
enum class ArchiveDefault : std::uint8_t { always, never, roster };

struct ArchivePreferences {
    ArchiveDefault by_default = ArchiveDefault::always;
    std::set<std::string> always;  ///< bare or full JIDs
    std::set<std::string> never;
    friend bool operator==(const ArchivePreferences&, const ArchivePreferences&) = default;
};

/// Keys of one SCRAM mechanism (RFC 5802 §3). Never the password.
struct ScramCredential {
    std::string mechanism;  ///< SCRAM-SHA-1, SCRAM-SHA-256, SCRAM-SHA-512
    std::string salt;       ///< raw bytes, likewise the keys
    int iterations = 0;
    std::string stored_key;
    std::string server_key;
};

/// What the store knows of one account and a node keeps in memory while it is needed. A version counts the
/// changes of roster, block list and preferences; a change that was decided on another version is refused.
struct AccountData {
    AccountId id = 0;
    Jid jid;  ///< bare
    AccountState state = AccountState::active;
    AccountSource source = AccountSource::local;
    std::string home_node;  ///< empty = unassigned
    std::uint64_t version = 0;
    std::string changed_by;            ///< of the change that made `version`; PostgreSQL only
    std::uint64_t roster_version = 0;  ///< `version` at the last change of the roster (RFC 6121 §2.6)
    std::map<Jid, RosterItem> roster;
    std::set<Jid> blocked;
    ArchivePreferences archive;
};

/// A change of one account, decided on `base_version`. `apply_to` makes the same change in memory.
struct AccountChange {
    AccountId account = 0;
    std::uint64_t base_version = 0;
    /// Whose change made `base_version`, empty = not known. Two nodes may each have made a version of the
    /// same number, one of which was refused: what was decided on that one must not pass for a change of the
    /// other.
    std::string base_author;
    std::string author;
    std::vector<RosterItem> put;  ///< inserted or replaced by jid
    std::vector<Jid> remove;
    std::vector<Jid> block;
    std::vector<Jid> unblock;
    std::optional<ArchivePreferences> archive;

    bool changes_roster() const { return !put.empty() || !remove.empty(); }
    bool empty() const {
        return put.empty() && remove.empty() && block.empty() && unblock.empty() && !archive;
    }
    /// Applies the change and moves `version` (and `roster_version`) to base_version + 1.
    void apply_to(AccountData& account) const;
};

}  // namespace hexad
