#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "storage/account.hpp"
#include "storage/batch.hpp"
#include "storage/placing.hpp"

namespace hexad {

/// What can go wrong below the store's interface.
enum class StorageError {
    unavailable = 1,  ///< the data base does not answer; try again
    corrupt,          ///< what was read cannot be what was written
    conflict,         ///< a unique name is taken, or the version has moved
    schema,           ///< schema version missing or too new; run with --migrate
    fenced            ///< a newer epoch was here: who asks is no longer the owner
};
error_code make_error_code(StorageError e);

struct ArchiveQuery {
    std::optional<Jid> with;  ///< bare: any resource; full: that one
    std::optional<Timestamp> start;
    std::optional<Timestamp> end;
    std::optional<std::string> after_id;   ///< RSM; empty string = from the beginning
    std::optional<std::string> before_id;  ///< RSM; empty string = from the end
    /// What follows is a filter like `start` and `end` (urn:xmpp:mam:2#extended).
    std::optional<std::string> newer_than;  ///< the form's after-id
    std::optional<std::string> older_than;  ///< the form's before-id
    std::vector<std::string> ids;
    std::size_t limit = 50;  ///< entries, 1 to 250; 0 = only the count
};

struct ArchiveItem {
    std::string stanza_id;
    Timestamp at;
    std::string xml;
};

/// Items in the order of the archive (oldest first), whichever way they were asked for.
struct ArchivePage {
    std::vector<ArchiveItem> items;
    bool complete = false;          ///< nothing beyond this page in the direction asked
    std::uint64_t count = 0;        ///< entries that match the filter without paging
    std::uint64_t first_index = 0;  ///< how many matching entries come before items[0]
    bool id_not_found = false;      ///< an id that the query names is not in the archive: item-not-found
};

struct ArchiveSpan {
    ArchiveItem first;
    ArchiveItem last;
};

/// An account without its contacts: for lists, logins, administration.
struct AccountRow {
    AccountId id = 0;
    Jid jid;
    AccountState state = AccountState::active;
    AccountSource source = AccountSource::local;
    std::string home_node;
    bool pinned = false;
    Timestamp created;
    std::string rule;    ///< why it is this home node, as in Home; empty: of a time before rules were kept
    Timestamp assigned;  ///< since when
    Timestamp pinned_since;  ///< if `pinned`
    PlacingFacts facts;
};

struct RoomRow {
    RoomId id = 0;
    Jid jid;
    std::string home_node;
    std::string moves_from;  ///< it is on its way from this node to `home_node`; empty: it is not
    std::uint64_t epoch = 0;
    std::uint64_t hist = 0;
    std::string config;
    std::string subject;
    std::vector<RoomAffiliation> affiliations;
};

/// A room on its way to another home node (docs/assignment.md, "Rooms").
struct RoomMove {
    RoomId room = 0;
    Jid jid;
    std::string from, to;
    std::uint64_t epoch = 0;  ///< of the room, since it is on its way
    Timestamp began;
    std::int64_t run = 0;  ///< of the rebalancing that moves it; 0: an administrator
};
struct RoomMoved {
    std::string refused;      ///< why it was not moved
    std::uint64_t epoch = 0;  ///< of the room from now on
};

/// The durable store, reading side plus what administration writes. What stanzas write is a Batch for the
/// Committer.
///
/// Called on the protocol thread; an implementation moves the blocking part to its own threads and resumes
/// the caller where it was. Both back ends (SQLite, PostgreSQL) pass storage/store_contract_test.cpp. Errors:
/// StorageError.
class Store {
public:
    virtual ~Store() = default;

    virtual awaitable<Result<std::optional<AccountData>>> load_account(Jid bare) = 0;
    virtual awaitable<Result<std::vector<ScramCredential>>> credentials(AccountId account) = 0;
    virtual awaitable<Result<std::string>> document(AccountId owner, std::string kind, std::string key) = 0;

    virtual awaitable<Result<ArchivePage>> archive_page(AccountId owner, ArchiveQuery query) = 0;
    virtual awaitable<Result<std::optional<ArchiveSpan>>> archive_span(AccountId owner) = 0;
    virtual awaitable<Result<ArchivePage>> room_archive_page(RoomId room, ArchiveQuery query) = 0;
    virtual awaitable<Result<std::optional<ArchiveSpan>>> room_archive_span(RoomId room) = 0;
    /// The stanza-id under which this account already archived the same outgoing message (same `with`,
    /// origin-id and content hash); for resends in a new session.
    virtual awaitable<Result<std::optional<std::string>>> find_sent(AccountId owner, Jid with,
                                                                    std::string origin_id,
                                                                    std::string content_hash) = 0;
    virtual awaitable<Result<std::uint64_t>> offline_count(AccountId owner) = 0;

    struct RoomFound {
        RoomRow room;
        bool created = false;  ///< this call made it; a second creator gets the first one's row
    };
    virtual awaitable<Result<std::optional<RoomRow>>> load_room(Jid room) = 0;
    virtual awaitable<Result<RoomFound>> create_room(Jid room, std::string home_node, std::string config) = 0;
    virtual awaitable<Result<std::vector<RoomRow>>> list_rooms(
        std::string domain) = 0;  ///< without affiliations

    /// The room's home is `wanted.to` from now on, and its epoch one higher: `wanted.epoch` is the one under
    /// which the owner has it, who can write no more after this. The move is under way until it is ended.
    virtual awaitable<Result<RoomMoved>> move_room(RoomMove wanted) = 0;
    /// Those under way, the oldest first.
    virtual awaitable<Result<std::vector<RoomMove>>> room_moves() = 0;
    /// The node of the new home has the room under this epoch. The move, if this call ended it.
    virtual awaitable<Result<std::optional<RoomMove>>> end_room_move(RoomId room, std::uint64_t epoch) = 0;
    /// Home node → number of rooms; a name that is only held is none.
    virtual awaitable<Result<std::map<std::string, std::uint64_t>>> room_counts() = 0;
    /// Rooms of a home node that are not on their way, the oldest first.
    virtual awaitable<Result<std::vector<Jid>>> rooms_of(std::string home, std::size_t most) = 0;

    /// From now on new accounts without a home node get it from this, in the transaction that makes them.
    virtual void place_by(Placer placer) = 0;
    /// `conflict` if the name is taken.
    virtual awaitable<Result<AccountId>> create_account(AccountRow row,
                                                        std::vector<ScramCredential> keys) = 0;
    struct NewAccount {
        AccountRow row;
        std::vector<ScramCredential> keys;
    };
    /// Many at once in one transaction; existing names are left alone. The number created.
    virtual awaitable<Result<std::size_t>> import_accounts(std::vector<NewAccount> accounts) = 0;
    virtual awaitable<Result<bool>> set_credentials(AccountId account, std::vector<ScramCredential> keys) = 0;
    virtual awaitable<Result<bool>> set_account_state(AccountId account, AccountState state) = 0;
    virtual awaitable<Result<bool>> remove_account(AccountId account) = 0;
    virtual awaitable<Result<std::optional<AccountRow>>> find_account(Jid bare) = 0;
    /// Ordered by name; `after` = the last localpart of the previous page.
    virtual awaitable<Result<std::vector<AccountRow>>> list_accounts(std::string domain, std::string after,
                                                                     std::size_t limit) = 0;
    /// Home node → number of accounts.
    virtual awaitable<Result<std::map<std::string, std::uint64_t>>> assignment_counts() = 0;
    /// A value of the table `meta`, empty if absent.
    virtual awaitable<Result<std::string>> meta(std::string key) = 0;
    virtual awaitable<Result<bool>> set_meta(std::string key, std::string value) = 0;
    virtual awaitable<error_code> ping() = 0;
};

/// How a commit ended.
enum class CommitStatus {
    ok,
    route_moved,    ///< a RouteCheck failed: decide again on the fresh route
    version_moved,  ///< an AccountChange was decided on an old version: load and decide again
    not_owner,      ///< the session's or room's epoch is not ours any more: drop it without a sound
    out_of_order    ///< an earlier batch of the same session was refused: decide again after it
};

struct CommitOutcome {
    CommitStatus status = CommitStatus::ok;
    std::vector<std::uint64_t>
        positions;  ///< L of each append, 0 where the target had the origin already or is gone
    std::vector<std::uint64_t>
        room_positions;  ///< inbox position of each room input, 0 where it was there already
};

/// Makes batches true, in the order of submission, many in one transaction ("take what is queued"). While the
/// back end is away it retries and holds; nothing is released. Protocol thread; works on its own threads.
class Committer {
public:
    virtual ~Committer() = default;
    /// `done` runs on the protocol thread, in order of submission. It gets the batch back (with its `after`
    /// functions, which the caller runs).
    virtual void submit(Batch batch, std::function<void(const CommitOutcome&, Batch&)> done) = 0;
    /// True if a batch is never refused (one node, one thread): routes change at submission and log entries
    /// may be numbered by the carrier before they are committed.
    virtual bool never_refuses() const = 0;
    /// Bytes waiting to become safe.
    virtual std::size_t pending_bytes() const = 0;
    /// False while the data base is known not to answer: what cannot wait for it is refused.
    virtual bool store_up() const { return true; }
};

}  // namespace hexad

template <>
struct boost::system::is_error_code_enum<hexad::StorageError> : std::true_type {};
