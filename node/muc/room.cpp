#include "muc/room.hpp"

#include <algorithm>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/text.hpp"
#include "xml/stanza_parser.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::muc {

bool Room::read(const RoomRow& row) {
    id = row.id;
    home = row.home_node;
    epoch = row.epoch;
    hist = row.hist;
    subject = row.subject;
    affiliates.clear();
    exists = !row.config.empty();
    if (!exists) return true;
    auto decoded = RoomConfig::decode(row.config);
    if (!decoded) return false;
    config = std::move(*decoded);
    for (const auto& one : row.affiliations) {
        affiliates[one.jid] = {read_affiliation(one.affiliation).value_or(Affiliation::none), one.nick,
                               one.reason};
    }
    return true;
}

bool Room::read(const OccupantPut& put) {
    const auto in = parse_element(put.bytes);
    if (!in || !in->is("occupant", "hexad:room")) return false;
    auto full = Jid::parse(in->attr("jid"));
    const auto role = read_role(in->attr("role"));
    if (!full || !role || in->attr("nick").empty()) return false;
    auto& occupant = occupants[std::string(in->attr("nick"))];
    occupant.nick = in->attr("nick");
    occupant.role = *role;
    occupant.account = full->bare();
    OccupantSession session{put.sid, std::move(*full), Element("presence", ns::client)};
    if (const auto* presence = in->find("presence", ns::client)) session.presence = *presence;
    occupant.sessions.push_back(std::move(session));
    return true;
}

std::string Room::encode(const Occupant& occupant, const OccupantSession& session) const {
    Element out("occupant", "hexad:room");
    out.set("v", "1")
        .set("nick", occupant.nick)
        .set("role", name_of(occupant.role))
        .set("jid", session.jid.to_string());
    out.add(session.presence);
    return out.to_string();
}

void Room::remember(Timestamp at, std::string xml) {
    past.push_back({at, std::move(xml)});
    if (past.size() > kept_past) past.pop_front();
}

void Room::remember_gone(const std::string& nick, Timestamp at) {
    std::erase_if(gone, [&](const auto& one) { return one.second < at - gone_time; });
    if (gone.size() >= kept_gone) {
        gone.erase(std::min_element(gone.begin(), gone.end(),
                                    [](const auto& a, const auto& b) { return a.second < b.second; }));
    }
    gone[nick] = at;
}

const Jid* Room::holder_of(const std::string& nick) const {
    for (const auto& [who, one] : affiliates) {
        if (one.nick == nick && one.affiliation >= Affiliation::member) return &who;
    }
    return nullptr;
}

Affiliation Room::affiliation_of(const Jid& who) const {
    // The node itself acts as owner: an administrator destroys a room. No client can send from a bare domain.
    if (who.local().empty()) return Affiliation::owner;
    auto it = affiliates.find(who.bare());
    if (it == affiliates.end()) it = affiliates.find(who.domain_jid());
    return it == affiliates.end() ? Affiliation::none : it->second.affiliation;
}

Role Room::entry_role(const Jid& bare) const {
    const auto standard = default_role(affiliation_of(bare), config.moderated);
    if (!config.moderated || standard >= Role::moderator) return standard;
    const auto kept = config.kept_roles.find(bare.to_string());
    return kept == config.kept_roles.end() ? standard : kept->second;
}

std::size_t Room::owners() const {
    std::size_t count = 0;
    for (const auto& [who, one] : affiliates) count += one.affiliation == Affiliation::owner ? 1 : 0;
    return count;
}

Occupant* Room::find(const std::string& nick) {
    const auto it = occupants.find(nick);
    return it == occupants.end() ? nullptr : &it->second;
}

Occupant* Room::find_account(const Jid& bare) {
    for (auto& [nick, occupant] : occupants) {
        if (occupant.account == bare) return &occupant;
    }
    return nullptr;
}

Occupant* Room::find_sid(const std::string& sid) {
    for (auto& [nick, occupant] : occupants) {
        for (const auto& session : occupant.sessions) {
            if (session.sid == sid) return &occupant;
        }
    }
    return nullptr;
}

Jid Room::occupant_jid(const std::string& nick) const {
    auto full = jid.with_resource(nick);
    if (!full) return jid;
    return std::move(*full);
}

std::string Room::occupant_id(const Jid& bare) const {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    const auto& text = bare.to_string();
    HMAC(EVP_sha256(), config.secret.data(), static_cast<int>(config.secret.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
    return hex_encode({reinterpret_cast<const char*>(digest), size}).substr(0, 40);
}

void Room::forget() {
    id = 0;
    epoch = 0;
    home.clear();
    exists = false;
    hist = 0;
    config = {};
    subject.clear();
    affiliates.clear();
    occupants.clear();
    past.clear();
    stored.clear();
    gone.clear();
}

}  // namespace hexad::muc
