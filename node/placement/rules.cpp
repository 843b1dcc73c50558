#include "placement/rules.hpp"

#include <algorithm>
#include <set>

#include <unicode/unistr.h>

#include "base/dn.hpp"

namespace hexad {

std::string folded(std::string_view text) {
    const auto size = static_cast<std::int32_t>(text.size());
    std::string lower;
    icu::UnicodeString::fromUTF8({text.data(), size}).foldCase().toUTF8String(lower);
    std::string out;
    bool space = false;
    for (const char c : lower) {
        if (c == ' ' || (c >= '\t' && c <= '\r')) {
            space = !out.empty();
            continue;
        }
        if (space) out += ' ';
        space = false;
        out += c;
    }
    return out;
}

std::optional<std::string> folded_dn(std::string_view text) {
    auto dn = parse_dn(text);
    if (!dn) return std::nullopt;
    for (auto& rdn : *dn) {
        for (auto& attribute : rdn) attribute.value = folded(attribute.value);
        std::sort(rdn.begin(), rdn.end(), [](const DnAttribute& a, const DnAttribute& b) {
            return std::tie(a.type, a.value) < std::tie(b.type, b.value);
        });
    }
    return to_string(*dn);
}

std::string name_of(const PlacementRule& rule) {
    return (rule.site.empty() ? "group " + rule.directory_group : "site " + rule.site) + " -> " + rule.group;
}

PlacementRules::PlacementRules(std::vector<PlacementRule> rules) : rules_(std::move(rules)) {
    for (std::size_t at = 0; at < rules_.size(); ++at) {
        if (!rules_[at].site.empty()) {
            sites_.emplace(folded(rules_[at].site), at);
        } else if (auto dn = folded_dn(rules_[at].directory_group)) {
            groups_.emplace(std::move(*dn), at);
        }
    }
}

const PlacementRule* PlacementRules::find(const PlacingFacts& facts) const {
    auto first = rules_.size();
    const auto take = [&first](const std::map<std::string, std::size_t>& known, const std::string& key) {
        if (const auto found = known.find(key); found != known.end()) first = std::min(first, found->second);
    };
    if (!facts.site.empty() && ask_sites()) take(sites_, folded(facts.site));
    for (const auto& group : facts.groups) take(groups_, group);
    return first == rules_.size() ? nullptr : &rules_[first];
}

std::string PlacementRules::group_for(const PlacingFacts& facts) const {
    const auto* rule = find(facts);
    return rule == nullptr ? std::string() : rule->group;
}

std::vector<std::string> PlacementRules::named(const std::vector<std::string>& groups) const {
    std::set<std::string> out;
    if (!ask_groups()) return {};
    for (const auto& group : groups) {
        if (auto dn = folded_dn(group); dn && groups_.contains(*dn)) out.insert(std::move(*dn));
    }
    return {out.begin(), out.end()};
}

std::vector<std::string> PlacementRules::group_names() const {
    std::vector<std::string> out;
    for (const auto& [name, rule] : groups_) out.push_back(name);
    return out;
}

}  // namespace hexad
