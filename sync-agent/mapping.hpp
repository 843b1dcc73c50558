#pragma once

#include <string>
#include <vector>

#include "base/config.hpp"
#include "ldap/directory.hpp"
#include "placement/rules.hpp"

namespace hexad::sync {

/// A person as the mirror keeps it.
struct Person {
    std::string uuid;       ///< immutable id (entryUUID), lower-case hex without dashes
    std::string localpart;  ///< prepared
    std::string dn;
    bool disabled = false;
    std::string vcard;  ///< XEP-0054 as XML
    PlacingFacts facts;
    std::string hash;  ///< over all of the above: unchanged people cost nothing
};

/// An entry that is not mirrored, and why: everything skipped is listed.
struct Skipped {
    std::string dn;
    std::string reason;
    std::string uuid;  ///< if it has one: the entry is there, whatever else is wrong with it
};

/// Base, filter and name attribute of an agreement, and what placement rules ask for: when they are others
/// than at the last full read, the next one is full.
std::string settings_of(const AgreementConfig& agreement, const PlacementRules& rules);
/// Whether a read with these settings finds the same people: base, filter and name attribute are as now.
bool finds_the_same(const std::string& settings, const AgreementConfig& agreement);
/// Attributes that the mapping reads; asked of the directory by name.
std::vector<std::string> wanted_attributes(const AgreementConfig& agreement, const PlacementRules& rules);
/// Entry → person. Missing surname or mail excludes nobody; no id or no usable name does. Site and groups are
/// taken if rules ask for them.
bool map_entry(const AgreementConfig& agreement, const PlacementRules& rules, const ldap::Entry& entry,
               Person& person, Skipped& skipped);

}  // namespace hexad::sync
