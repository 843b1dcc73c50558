#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.hpp"
#include "storage/placing.hpp"

namespace hexad {

/// Two texts that a directory takes for equal have the same: no regard to case (of all scripts) and to how
/// much white space there is.
///
///     folded(" São  PAULO") == folded("são paulo")
std::string folded(std::string_view text);
/// The same for distinguished names (RFC 4514); nothing if it is none.
std::optional<std::string> folded_dn(std::string_view text);

/// How people see a rule: `site Berlin -> g1`, `group cn=sales,dc=example,dc=org -> g2`.
std::string name_of(const PlacementRule& rule);

/// The placement rules of a configuration, ready to be asked. Values: safe from any thread.
class PlacementRules {
public:
    explicit PlacementRules(std::vector<PlacementRule> rules);

    /// The first rule that fits; nullptr if none does.
    const PlacementRule* find(const PlacingFacts& facts) const;
    /// Its redundancy group; empty if none fits.
    std::string group_for(const PlacingFacts& facts) const;

    bool ask_sites() const { return !sites_.empty(); }
    bool ask_groups() const { return !groups_.empty(); }
    /// Those of a person's groups that a rule names: as folded_dn(), sorted, each once.
    std::vector<std::string> named(const std::vector<std::string>& groups) const;
    /// The groups that rules name, in the same form.
    std::vector<std::string> group_names() const;

private:
    std::vector<PlacementRule> rules_;
    std::map<std::string, std::size_t> sites_, groups_;  ///< folded → the first rule
};

}  // namespace hexad
