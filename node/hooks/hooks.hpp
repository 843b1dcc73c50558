#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/result.hpp"
#include "hooks/account_cache.hpp"
#include "hooks/events.hpp"

namespace hexad {

/// Whom a request is addressed to. `service` is the label in front of a host name: `rooms`, `upload`; empty
/// otherwise.
struct Target {
    enum class Kind { server, account, service, missing_account } kind = Kind::server;
    std::string service;
    static Target server() { return {Kind::server, {}}; }
    static Target account() { return {Kind::account, {}}; }
    static Target missing_account() { return {Kind::missing_account, {}}; }
    static Target of_service(std::string label) { return {Kind::service, std::move(label)}; }
    friend auto operator<=>(const Target&, const Target&) = default;
};

/// The answer to a request: the payload of the result (no name = an empty result), or the error.
using IqResult = Result<Element, StanzaError>;

/// A request while it is decided on or answered.
struct IqRequest {
    Iq iq;
    SessionState* session = nullptr;  ///< the sender's session; valid only before the first co_await
    AccountPtr sender;                ///< the sender's account
    AccountPtr account;               ///< the account asked (Target::account)
    std::vector<Bytes> before;        ///< stanzas that the sender gets before the result (archive pages)
};

/// Answers a request without changing anything but what its store reads; may wait.
using IqAnswer = std::function<awaitable<IqResult>(IqRequest&)>;
/// Decides on a request at once; its effects go into the batch.
using IqDecision = std::function<IqResult(IqRequest&, Batch&)>;

/// What the modules registered: events in phases, requests by (target, payload), disco features, identities,
/// items. Protocol thread; filled at start.
class Hooks {
public:
    template <class Event>
    void on(Phase phase, std::function<Verdict(Event&)> handler) {
        handlers<Event>()[static_cast<int>(phase)].push_back(std::move(handler));
    }
    /// Runs the handlers of an event: guard, observe, act, each in order of registration. `handled` ends the
    /// chain.
    template <class Event>
    Verdict run(Event& event) {
        for (auto& phase : handlers<Event>()) {
            for (auto& handler : phase) {
                if (handler(event) == Verdict::handled) return Verdict::handled;
            }
        }
        return Verdict::pass;
    }

    /// Two owners of one payload on one target stop the start-up (throws std::logic_error).
    void answer(const Target& target, bool set, const QName& payload, IqAnswer handler);
    void decide(const Target& target, bool set, const QName& payload, IqDecision handler);
    const IqAnswer* find_answer(const Target& target, bool set, const QName& payload) const;
    const IqDecision* find_decision(const Target& target, bool set, const QName& payload) const;

    struct Identity {
        std::string category, type, name;
        friend auto operator<=>(const Identity&, const Identity&) = default;
    };
    void feature(const Target& target, std::string_view name) { features_[target].emplace(name); }
    void identity(const Target& target, Identity identity) {
        identities_[target].insert(std::move(identity));
    }
    const std::set<std::string>& features(const Target& target) const;
    const std::set<Identity>& identities(const Target& target) const;
    /// Form appended to the disco#info of a target (XEP-0128), e.g. the upload limit.
    void info_form(const Target& target, Element form) { forms_[target].push_back(std::move(form)); }
    const std::vector<Element>& info_forms(const Target& target) const;
    /// Labels of the services that modules registered: the disco items of a host.
    void service(std::string label, std::string name) { services_[std::move(label)] = std::move(name); }
    const std::map<std::string, std::string>& services() const { return services_; }
    /// Stream features offered after authentication (RFC 6120 §4.3.2).
    void stream_feature(Element feature) { stream_features_.push_back(std::move(feature)); }
    const std::vector<Element>& stream_features() const { return stream_features_; }

private:
    template <class Event>
    std::array<std::vector<std::function<Verdict(Event&)>>, 3>& handlers() {
        using List = std::array<std::vector<std::function<Verdict(Event&)>>, 3>;
        return std::get<List>(lists_);
    }
    template <class... Events>
    using Lists = std::tuple<std::array<std::vector<std::function<Verdict(Events&)>>, 3>...>;
    using Key = std::tuple<Target, bool, QName>;

    Lists<SessionBound, StanzaFromClient, MessageToAccount, MessageFromAccount, ResourceAvailable,
          ResourceUnavailable, SessionClosed, RosterChanged, ContactRemoved, AccountRemoved, RoomInputArrived,
          RoomHeldElsewhere, RoomHomeMoved, NodeStarted, RoomsCarried, RoomsFenced>
        lists_;
    std::map<Key, IqAnswer> answers_;
    std::map<Key, IqDecision> decisions_;
    std::map<Target, std::set<std::string>> features_;
    std::map<Target, std::set<Identity>> identities_;
    std::map<Target, std::vector<Element>> forms_;
    std::map<std::string, std::string> services_;
    std::vector<Element> stream_features_;
};

}  // namespace hexad
