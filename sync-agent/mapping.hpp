#pragma once

#include <string>
#include <vector>

#include "base/config.hpp"
#include "ldap/directory.hpp"

namespace hexad::sync {

/// A person as the mirror keeps it.
struct Person {
    std::string uuid;       ///< immutable id (entryUUID), lower-case hex without dashes
    std::string localpart;  ///< prepared
    std::string dn;
    bool disabled = false;
    std::string vcard;  ///< XEP-0054 as XML
    std::string hash;   ///< over all of the above: unchanged people cost nothing
};

/// An entry that is not mirrored, and why: everything skipped is listed.
struct Skipped {
    std::string dn;
    std::string reason;
    std::string uuid;  ///< if it has one: the entry is there, whatever else is wrong with it
};

/// Base, filter and name attribute of an agreement, and the version of the mapping: when they are others than
/// at the last full read, the next one is full.
std::string settings_of(const AgreementConfig& agreement);
/// Attributes that the mapping reads; asked of the directory by name.
std::vector<std::string> wanted_attributes(const AgreementConfig& agreement);
/// Entry → person. Missing surname or mail excludes nobody; no id or no usable name does.
bool map_entry(const AgreementConfig& agreement, const ldap::Entry& entry, Person& person, Skipped& skipped);

}  // namespace hexad::sync
