#pragma once

#include <memory>
#include <set>
#include <string>

#include "storage/account.hpp"
#include "storage/batch.hpp"

namespace hexad {

/// What a bound session is, apart from its stream and its counters: enough to continue it on another node.
/// Lives on the protocol thread of its carrier; modules read it and change it inside a decision, then call
/// `touch()`.
struct SessionState {
    std::string sid;
    Jid jid;                               ///< full
    std::shared_ptr<AccountData> account;  ///< never null while the session lives
    Epoch epoch;

    std::string
        presence;  ///< last broadcast presence, `<presence from=…>` without `to`; empty = not available
    std::int8_t priority = 0;
    bool available = false;
    bool interested = false;        ///< asked for the roster
    bool block_interested = false;  ///< asked for the block list
    bool carbons = false;           ///< XEP-0280
    bool inactive = false;          ///< XEP-0352
    std::set<Jid> directed;         ///< who got directed available presence (RFC 6121 §4.6)
    std::set<Jid> rooms;            ///< occupant JIDs of the rooms it is in

    /// The state differs from what the session log holds; the decision's batch will carry it.
    void touch() { dirty = true; }
    bool dirty = false;
    std::string
        broadcast;  ///< set by a decision: presence that the contacts shall see with the coming route change
};

}  // namespace hexad
