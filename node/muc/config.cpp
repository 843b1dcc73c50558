#include "muc/config.hpp"

#include <algorithm>
#include <charconv>

#include "base/text.hpp"
#include "xml/stanza_parser.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::muc {

namespace {

constexpr std::string_view prefix = "muc#roomconfig_";
constexpr std::string_view form_type = "http://jabber.org/protocol/muc#roomconfig";

struct Switch {
    std::string_view var;
    std::string_view label;
    bool RoomConfig::* value;
};
constexpr Switch switches[] = {
    {"persistentroom", "Keep the room when the last occupant leaves", &RoomConfig::persistent},
    {"publicroom", "List the room", &RoomConfig::is_public},
    {"membersonly", "Only members may enter", &RoomConfig::members_only},
    {"moderatedroom", "Only occupants with voice may speak", &RoomConfig::moderated},
    {"changesubject", "Occupants may change the subject", &RoomConfig::change_subject},
    {"enablelogging", "Keep an archive of the conversation", &RoomConfig::archived},
};
constexpr std::size_t sizes[] = {10, 20, 50, 100, 200, 500, 1000};

std::string_view pm_name(Role role) {
    switch (role) {
        case Role::none:
            return "none";
        case Role::visitor:
            return "anyone";
        case Role::participant:
            return "participants";
        case Role::moderator:
            return "moderators";
    }
    return "anyone";
}

std::optional<Role> read_pm(std::string_view text) {
    for (const auto role : {Role::none, Role::visitor, Role::participant, Role::moderator}) {
        if (pm_name(role) == text) return role;
    }
    return std::nullopt;
}

std::optional<std::size_t> read_size(std::string_view text) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

constexpr Role present_roles[] = {Role::moderator, Role::participant, Role::visitor};

/// Roles that an occupant can have, by name; nothing if one is none.
std::optional<std::set<Role>> read_roles(const std::vector<std::string>& names) {
    std::set<Role> out;
    for (const auto& name : names) {
        const auto role = read_role(name);
        if (!role || *role == Role::none) return std::nullopt;
        out.insert(*role);
    }
    return out;
}

std::vector<std::string> words(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const auto end = std::min(text.find(' '), text.size());
        if (end > 0) out.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

std::string var(std::string_view name) { return std::string(prefix) + std::string(name); }

}  // namespace

std::string RoomConfig::encode() const {
    Element out("room", "hexad:room");
    out.set("v", "1")
        .set("name", name)
        .set("description", description)
        .set("password", password)
        .set("secret", secret);
    for (const auto& one : switches) out.set(one.var, this->*one.value ? "1" : "0");
    out.set("whois", shows_jids ? "anyone" : "moderators").set("allowpm", pm_name(private_messages));
    out.set("maxusers", std::to_string(max_users)).set("locked", locked ? "1" : "0");
    std::string shown;
    for (const auto role : shown_roles) shown.append(shown.empty() ? "" : " ").append(name_of(role));
    out.set("presencebroadcast", shown);
    if (allow_invites) out.set("allowinvites", *allow_invites ? "1" : "0");
    for (const auto& [who, role] : kept_roles)
        out.add(Element("role", "hexad:room").set("jid", who).set("is", name_of(role)));
    return out.to_string();
}

std::optional<RoomConfig> RoomConfig::decode(std::string_view text) {
    const auto in = parse_element(text);
    if (!in || !in->is("room", "hexad:room")) return std::nullopt;
    RoomConfig out;
    out.name = in->attr("name");
    out.description = in->attr("description");
    out.password = in->attr("password");
    out.secret = in->attr("secret");
    for (const auto& one : switches) {
        if (in->has_attr(one.var)) out.*one.value = in->attr(one.var) == "1";
    }
    if (in->has_attr("allowinvites")) out.allow_invites = in->attr("allowinvites") == "1";
    for (const auto* one : in->elements()) {
        const auto role = read_role(one->attr("is"));
        if (one->is("role", "hexad:room") && role) out.kept_roles[std::string(one->attr("jid"))] = *role;
    }
    out.shows_jids = in->attr("whois") == "anyone";
    out.private_messages = read_pm(in->attr("allowpm")).value_or(Role::visitor);
    out.max_users = read_size(in->attr("maxusers")).value_or(max_occupants);
    out.locked = in->attr("locked") == "1";
    if (in->has_attr("presencebroadcast"))
        out.shown_roles = read_roles(words(in->attr("presencebroadcast"))).value_or(out.shown_roles);
    return out;
}

Element RoomConfig::form(const std::string& room) const {
    std::vector<FormField> fields;
    fields.push_back({var("roomname"), "text-single", "Name", {name}, {}});
    fields.push_back({var("roomdesc"), "text-single", "Description", {description}, {}});
    for (const auto& one : switches) {
        fields.push_back(
            {var(one.var), "boolean", std::string(one.label), {this->*one.value ? "1" : "0"}, {}});
    }
    fields.push_back(
        {var("allowinvites"), "boolean", "Occupants may invite others", {invites_allowed() ? "1" : "0"}, {}});
    fields.push_back({var("passwordprotectedroom"),
                      "boolean",
                      "A password is needed to enter",
                      {password.empty() ? "0" : "1"},
                      {}});
    fields.push_back({var("roomsecret"), "text-private", "Password", {password}, {}});
    fields.push_back({var("whois"),
                      "list-single",
                      "Who sees the addresses of occupants",
                      {shows_jids ? "anyone" : "moderators"},
                      {{"Moderators", "moderators"}, {"Anyone", "anyone"}}});
    fields.push_back({var("allowpm"),
                      "list-single",
                      "Who may send private messages",
                      {std::string(pm_name(private_messages))},
                      {{"Anyone", "anyone"},
                       {"Occupants with voice", "participants"},
                       {"Moderators", "moderators"},
                       {"Nobody", "none"}}});
    FormField size{
        var("maxusers"), "list-single", "Greatest number of occupants", {std::to_string(max_users)}, {}};
    bool listed = false;
    for (const auto value : sizes) {
        size.options.emplace_back("", std::to_string(value));
        listed = listed || value == max_users;
    }
    if (!listed) size.options.emplace_back("", std::to_string(max_users));
    fields.push_back(std::move(size));
    FormField shown{var("presencebroadcast"), "list-multi", "Roles whose presence is broadcast", {}, {}};
    for (const auto role : present_roles) {
        shown.options.emplace_back("", name_of(role));
        if (shown_roles.contains(role)) shown.values.emplace_back(name_of(role));
    }
    fields.push_back(std::move(shown));
    return make_form("form", form_type, fields, "Configuration of " + room);
}

Result<RoomConfig, StanzaError> RoomConfig::with(const SubmittedForm& form) const {
    RoomConfig out = *this;
    const auto bad = [](std::string_view text) { return StanzaError::not_acceptable(text); };
    if (!form.form_type.empty() && form.form_type != form_type)
        return StanzaError::bad_request("not a room configuration");
    if (form.form_type.empty() && !form.values.empty())
        return StanzaError::bad_request("the form has no FORM_TYPE");
    const auto text = [&](std::string_view name, std::string& value, std::size_t limit) {
        if (auto given = form.first(var(name))) value = std::move(*given);
        return value.size() <= limit && is_utf8(value);
    };
    if (!text("roomname", out.name, 256)) return bad("the name is too long");
    if (!text("roomdesc", out.description, 2048)) return bad("the description is too long");
    for (const auto& one : switches) {
        if (!form.values.contains(var(one.var))) continue;
        const auto value = form.boolean(var(one.var));
        if (!value) return bad(std::string(one.var) + " is neither true nor false");
        out.*one.value = *value;
    }
    if (form.values.contains(var("allowinvites"))) {
        const auto value = form.boolean(var("allowinvites"));
        if (!value) return bad("allowinvites is neither true nor false");
        out.allow_invites = *value;
    }
    if (const auto archiving = form.boolean(var("enablearchiving"))) out.archived = *archiving;
    if (!text("roomsecret", out.password, 256)) return bad("the password is too long");
    if (form.values.contains(var("passwordprotectedroom"))) {
        const auto wanted = form.boolean(var("passwordprotectedroom"));
        if (!wanted) return bad("passwordprotectedroom is neither true nor false");
        if (!*wanted) out.password.clear();
        if (*wanted && out.password.empty()) return bad("a password is needed");
    }
    if (const auto whois = form.first(var("whois"))) {
        if (*whois != "anyone" && *whois != "moderators") return bad("whois is anyone or moderators");
        out.shows_jids = *whois == "anyone";
    }
    if (const auto pm = form.first(var("allowpm"))) {
        const auto role = read_pm(*pm);
        if (!role) return bad("allowpm is anyone, participants, moderators or none");
        out.private_messages = *role;
    }
    if (const auto given = form.values.find(var("presencebroadcast")); given != form.values.end()) {
        auto roles = read_roles(given->second);
        if (!roles) return bad("presencebroadcast is of moderator, participant and visitor");
        out.shown_roles = std::move(*roles);
    }
    if (const auto size = form.first(var("maxusers"))) {
        const auto value = *size == "none" || size->empty() ? std::optional(max_occupants) : read_size(*size);
        if (!value || *value == 0 || *value > max_occupants)
            return bad("maxusers is a number up to " + std::to_string(max_occupants));
        out.max_users = *value;
    }
    return out;
}

std::vector<int> config_changes(const RoomConfig& before, const RoomConfig& after) {
    std::vector<int> codes;
    auto rest = after;
    rest.archived = before.archived;
    rest.shows_jids = before.shows_jids;
    rest.locked = before.locked;
    if (!(rest == before)) codes.push_back(104);
    if (before.archived != after.archived) codes.push_back(after.archived ? 170 : 171);
    if (before.shows_jids != after.shows_jids) codes.push_back(after.shows_jids ? 172 : 173);
    return codes;
}

}  // namespace hexad::muc
