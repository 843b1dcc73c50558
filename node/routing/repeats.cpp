// Messages that may have been here before: resent to another node than the one that died with them, or in a
// new session because the old one could not be resumed (docs/delivery.md, "What is sent again").
#include "base/log.hpp"
#include "routing/router.hpp"
#include "routing/stanza_id.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

/// Stanzas that a client may have had under way to its former node.
constexpr std::uint64_t under_way = 64;
constexpr std::uint64_t most_counters = 2000;
constexpr std::chrono::minutes resends_come_within{5};

std::string_view origin_id(const Element& message) {
    const auto* element = message.find("origin-id", ns::sid);
    return element == nullptr ? std::string_view{} : element->attr("id");
}

/// The counter under which `former` sent the stanza with this id; 0 if it did not.
std::uint64_t counter_of(const Session::Former& former, const std::string& hash, const std::string& id) {
    const auto last = former.in + under_way;
    for (auto n = last; n > 0 && n + most_counters > last; --n) {
        if (stanza_id_of(former.sid, n, hash) == id) return n;
    }
    return 0;
}

/// Until the store answers: a stanza is not decided on a guess.
template <class Read>
auto patiently(asio::io_context& io, SessionPtr session, Read read) -> decltype(read()) {
    for (;;) {
        auto found = co_await read();
        if (found || session->finished) co_return found;
        asio::steady_timer pause(io, milliseconds(200));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

}  // namespace

void Router::follows(const SessionPtr& session, std::string former, std::uint64_t handled) {
    session->former = {std::move(former), handled, SteadyClock::now() + resends_come_within};
}

void Router::expect_repeats(const SessionPtr& session) {
    session->look_back_until = session->in_safe + under_way;
}

bool Router::may_be_repeat(const SessionPtr& session, const Element& stanza, std::uint64_t n) const {
    if (session->looked_back == n || stanza.name() != "message") return false;
    if (n <= session->look_back_until) return true;
    return session->former && !origin_id(stanza).empty() && SteadyClock::now() < session->former->until;
}

awaitable<void> Router::withdraw(SessionPtr session, std::vector<OfflineStore::RowName> rows) {
    for (;;) {
        const auto epoch = session->state.epoch;
        const SessionToken token{session->state.sid, epoch};
        const auto found = co_await offline_->withdraw(token, rows);
        if (found) {
            for (std::size_t i = 0; i < rows.size(); ++i) {
                if ((*found)[i] == OfflineStore::Row::taken) {
                    session->offline_taken.insert(rows[i].stanza_id);
                } else {
                    session->offline_taken.erase(rows[i].stanza_id);  // that login ended, and gave it back
                }
            }
            co_return;
        }
        // Another node carries it, and may have decided the same stanzas.
        if (found.error() == StorageError::fenced && session->state.epoch == epoch) drop(session);
        if (session->finished) co_return;
        asio::steady_timer pause(io_, milliseconds(200));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

awaitable<void> Router::look_back(SessionPtr session, std::uint64_t n) {
    auto message = session->unread.front();
    if (const auto to = Jid::parse(message.attr("to"))) {
        message.set("to", to->to_string());
        const auto hash = content_hash(message);
        auto id = stanza_id_of(session->state.sid, n, hash);
        bool again = n <= session->look_back_until;
        if (session->former && !origin_id(message).empty()) {
            const std::string origin(origin_id(message));
            const auto sent = co_await patiently(io_, session, [&] {
                return store_.find_sent(session->state.account->id, *to, origin, hash);
            });
            if (sent && *sent) {
                const auto& former = *session->former;
                if (const auto counter = counter_of(former, hash, **sent); counter > 0) {
                    again = counter > former.in;
                    id = **sent;
                    session->repeats[n] = again ? id : std::string();
                    log_info("stanza_repeated",
                             {{"jid", session->state.jid.to_string()}, {"handled", !again}});
                }
            }
        }
        // An earlier attempt may have put it offline; a login may have taken it from there.
        const auto recipient = accounts_.find(to->bare());
        if (again && offline_ != nullptr && recipient) {
            std::vector<OfflineStore::RowName> rows{{recipient->id, id}};
            co_await withdraw(session, std::move(rows));
        }
    }
    session->looked_back = n;
    session->loading = false;
    pump(session);
}

}  // namespace hexad
