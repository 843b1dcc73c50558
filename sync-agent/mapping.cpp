#include "sync-agent/mapping.hpp"

#include "base/text.hpp"
#include "xml/element.hpp"
#include "xmpp/jid.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::sync {

namespace {

constexpr std::size_t max_photo = 64 * 1024;
constexpr std::size_t max_site = 256;

std::string lowered(std::string text) {
    for (auto& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
}

std::string value(const ldap::Entry& entry, std::string_view name) {
    const auto first = entry.first(name);
    if (!first || !is_utf8(*first)) return {};
    return std::string(*first);
}

std::string card(const ldap::Entry& entry, const std::string& localpart) {
    Element vcard("vCard", ns::vcard);
    const auto text = [&](Element& parent, std::string_view name, const std::string& content) {
        if (!content.empty()) parent.add_text_child(name, ns::vcard, content);
    };
    auto shown = value(entry, "displayname");
    if (shown.empty()) shown = value(entry, "cn");
    text(vcard, "FN", shown.empty() ? localpart : shown);
    Element name("N", ns::vcard);
    text(name, "FAMILY", value(entry, "sn"));
    text(name, "GIVEN", value(entry, "givenname"));
    vcard.add(std::move(name));
    if (const auto mail = value(entry, "mail"); !mail.empty()) {
        Element email("EMAIL", ns::vcard);
        email.add(Element("INTERNET", ns::vcard));
        text(email, "USERID", mail);
        vcard.add(std::move(email));
    }
    for (const auto& [attribute, kind] :
         {std::pair{"telephonenumber", "WORK"}, std::pair{"mobile", "CELL"}}) {
        if (const auto number = value(entry, attribute); !number.empty()) {
            Element tel("TEL", ns::vcard);
            tel.add(Element(kind, ns::vcard));
            text(tel, "NUMBER", number);
            vcard.add(std::move(tel));
        }
    }
    auto department = value(entry, "departmentnumber");
    if (department.empty()) department = value(entry, "ou");
    const auto company = value(entry, "o");
    if (!department.empty() || !company.empty()) {
        Element org("ORG", ns::vcard);
        text(org, "ORGNAME", company);
        text(org, "ORGUNIT", department);
        vcard.add(std::move(org));
    }
    text(vcard, "TITLE", value(entry, "title"));
    if (const auto photo = entry.first("jpegphoto"); photo && !photo->empty() && photo->size() <= max_photo) {
        Element element("PHOTO", ns::vcard);
        text(element, "TYPE", "image/jpeg");
        text(element, "BINVAL", base64_encode(*photo));
        vcard.add(std::move(element));
    }
    return vcard.to_string(ns::vcard);
}

/// Without control characters: the store keeps it as text.
std::string site_of(const AgreementConfig& agreement, const ldap::Entry& entry) {
    auto site = value(entry, lowered(agreement.site_attribute));
    for (auto& c : site) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    }
    return site.size() > max_site ? std::string() : site;
}

PlacingFacts facts_of(const AgreementConfig& agreement, const PlacementRules& rules,
                      const ldap::Entry& entry) {
    PlacingFacts out;
    if (rules.ask_sites()) out.site = site_of(agreement, entry);
    if (rules.ask_groups()) out.groups = rules.named(entry.all("memberof"));
    return out;
}

/// What of the settings decides who is found.
std::string selection_of(const AgreementConfig& agreement) {
    return agreement.base + '\n' + agreement.filter + '\n' + agreement.uid_attribute;
}

}  // namespace

std::string settings_of(const AgreementConfig& agreement, const PlacementRules& rules) {
    auto out = selection_of(agreement);
    if (rules.ask_sites()) out += "\nsite " + agreement.site_attribute;
    for (const auto& group : rules.group_names()) out += "\ngroup " + group;
    return out;
}

bool finds_the_same(const std::string& settings, const AgreementConfig& agreement) {
    const auto selection = selection_of(agreement);
    return settings == selection || settings.starts_with(selection + '\n');
}

std::vector<std::string> wanted_attributes(const AgreementConfig& agreement, const PlacementRules& rules) {
    std::vector<std::string> out{"entryUUID",
                                 agreement.uid_attribute,
                                 "displayName",
                                 "cn",
                                 "sn",
                                 "givenName",
                                 "mail",
                                 "telephoneNumber",
                                 "mobile",
                                 "departmentNumber",
                                 "ou",
                                 "o",
                                 "title",
                                 "jpegPhoto",
                                 "pwdAccountLockedTime",
                                 "nsAccountLock",
                                 "modifyTimestamp"};
    if (rules.ask_sites()) out.push_back(agreement.site_attribute);
    if (rules.ask_groups()) out.emplace_back("memberOf");
    return out;
}

bool map_entry(const AgreementConfig& agreement, const PlacementRules& rules, const ldap::Entry& entry,
               Person& person, Skipped& skipped) {
    skipped.dn = entry.dn;
    std::string uuid;
    for (const char c : value(entry, "entryuuid")) {
        if (c != '-') uuid += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    if (uuid.size() != 32) {
        skipped.reason = "no entryUUID";
        return false;
    }
    skipped.uuid = uuid;
    const auto name = value(entry, lowered(agreement.uid_attribute));
    const auto local = prepare_local(escape_local(name));
    if (name.empty() || !local) {
        skipped.reason = name.empty() ? "no " + agreement.uid_attribute
                                      : agreement.uid_attribute + " cannot be an address: " + name;
        return false;
    }
    person.uuid = std::move(uuid);
    person.localpart = *local;
    person.dn = entry.dn;
    const auto lock = lowered(value(entry, "nsaccountlock"));
    person.disabled = !value(entry, "pwdaccountlockedtime").empty() || lock == "true";
    person.vcard = card(entry, person.localpart);
    if (const auto photo = entry.first("jpegphoto"); photo && photo->size() > max_photo)
        skipped.reason = "photo left out: " + std::to_string(photo->size()) + " bytes";
    person.facts = facts_of(agreement, rules, entry);
    auto content = person.localpart + '\0' + person.dn + '\0' + (person.disabled ? "1" : "0") + person.vcard;
    // Without rules the hash is that of versions that had none.
    if (!person.facts.site.empty()) content.append(1, '\0').append("site ").append(person.facts.site);
    for (const auto& group : person.facts.groups) content.append(1, '\0').append("group ").append(group);
    person.hash = hex_encode(sha1(content));
    return true;
}

}  // namespace hexad::sync
