#pragma once

#include <functional>
#include <string>

#include <CLI/CLI.hpp>
#include <boost/json/value.hpp>

namespace hexad {

/// Calls the admin API and prints the answer, by `show` if it is given; hexactl's exit code.
using ApiCall = std::function<int(const std::string& method, const std::string& path, const std::string& body,
                                  const std::function<void(const boost::json::value&)>& show)>;

/// `ha …`, `topology`, `cluster verify`, `events`, `gate override`, `replication status`, `doctor`, and
/// `node drain|return`.
void add_ha_commands(CLI::App& app, CLI::App& node, const bool& as_json, ApiCall call);

}  // namespace hexad
