#include "hooks/hooks.hpp"

#include <stdexcept>

namespace hexad {

void Hooks::answer(const Target& target, bool set, const QName& payload, IqAnswer handler) {
    const Key key{target, set, payload};
    if (decisions_.contains(key) || !answers_.emplace(key, std::move(handler)).second) {
        throw std::logic_error("two owners for <" + payload.name + " xmlns='" + payload.ns + "'>");
    }
    feature(target, payload.ns);
}

void Hooks::decide(const Target& target, bool set, const QName& payload, IqDecision handler) {
    const Key key{target, set, payload};
    if (answers_.contains(key) || !decisions_.emplace(key, std::move(handler)).second) {
        throw std::logic_error("two owners for <" + payload.name + " xmlns='" + payload.ns + "'>");
    }
    feature(target, payload.ns);
}

const IqAnswer* Hooks::find_answer(const Target& target, bool set, const QName& payload) const {
    const auto it = answers_.find(Key{target, set, payload});
    return it == answers_.end() ? nullptr : &it->second;
}

const IqDecision* Hooks::find_decision(const Target& target, bool set, const QName& payload) const {
    const auto it = decisions_.find(Key{target, set, payload});
    return it == decisions_.end() ? nullptr : &it->second;
}

const std::set<std::string>& Hooks::features(const Target& target) const {
    static const std::set<std::string> none;
    const auto it = features_.find(target);
    return it == features_.end() ? none : it->second;
}

const std::set<Hooks::Identity>& Hooks::identities(const Target& target) const {
    static const std::set<Identity> none;
    const auto it = identities_.find(target);
    return it == identities_.end() ? none : it->second;
}

const std::vector<Element>& Hooks::info_forms(const Target& target) const {
    static const std::vector<Element> none;
    const auto it = forms_.find(target);
    return it == forms_.end() ? none : it->second;
}

}  // namespace hexad
