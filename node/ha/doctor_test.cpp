#include "ha/doctor.hpp"

#include <boost/json.hpp>
#include <catch2/catch.hpp>

using namespace hexad;
namespace json = boost::json;

namespace {

Config pair(const std::string& site1 = "A", const std::string& site2 = "A") {
    Config config;
    GroupConfig group;
    group.name = "g1";
    for (const auto* name : {"n1", "n2"}) {
        NodeConfig node;
        node.name = name;
        node.site = node.name == "n1" ? site1 : site2;
        group.nodes.push_back(node);
    }
    config.groups.push_back(group);
    return config;
}

json::object healthy() {
    return json::parse(
               R"({"reachable": true, "version": "1", "config": "abc", "gate": "", "clock_ahead_ms": 3,
        "store": {"reachable": true, "role": "primary", "lag_ms": null, "schema": 4, "wanted_schema": 4,
                  "replicas": [{"name": "r1"}]},
        "state_store": {"reachable": true, "active": true, "generation": 2},
        "certificates": [{"name": "example.test", "file": "a.pem", "days": 90}]})")
        .as_object();
}

Symptoms symptoms() {
    Symptoms out;
    out.health["n1"] = healthy();
    out.health["n2"] = healthy();
    return out;
}

/// `level check subject` of everything that is not good, the worst first.
std::vector<std::string> found(const json::object& report) {
    std::vector<std::string> out;
    for (const auto& item : report.at("checks").as_array()) {
        const auto& one = item.as_object();
        if (one.at("level") == "good") continue;
        CHECK(one.at("do").is_string());  // what is wrong always says what to do
        std::string line;
        for (const auto* key : {"level", "check", "subject"})
            line += (line.empty() ? "" : " ") + std::string(one.at(key).as_string());
        out.push_back(line);
    }
    return out;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("a healthy pair at one site gets one warning, about the site", "[doctor]") {
    const auto report = diagnose(pair(), symptoms());
    CHECK(report.at("good").as_bool());
    CHECK(found(report) == Lines{"warning site cluster"});
}

TEST_CASE("a clock that is off is a warning, far off it is bad", "[doctor]") {
    auto seen = symptoms();
    seen.health["n2"]["clock_ahead_ms"] = -700;
    CHECK(found(diagnose(pair(), seen)).front() == "warning clock n2");
    seen.health["n2"]["clock_ahead_ms"] = 20000;
    const auto report = diagnose(pair(), seen);
    CHECK(found(report).front() == "bad clock n2");
    CHECK_FALSE(report.at("good").as_bool());
}

TEST_CASE("certificates: soon over, over, and unreadable", "[doctor]") {
    const auto with = [](const char* text) {
        auto seen = symptoms();
        seen.health["n1"]["certificates"] = json::parse(text);
        return found(diagnose(pair(), seen)).front();
    };
    CHECK(with(R"([{"name": "h", "file": "f", "days": 20}])") == "warning certificate n1, h");
    CHECK(with(R"([{"name": "h", "file": "f", "days": -1}])") == "bad certificate n1, h");
    CHECK(with(R"([{"name": "h", "file": "f", "error": "f: no PEM"}])") == "bad certificate n1, h");
}

TEST_CASE("a store out of reach, read-only, behind, or with an old schema is bad", "[doctor]") {
    for (const auto& [key, value] : std::map<std::string, json::value>{
             {"reachable", false}, {"role", "standby"}, {"lag_ms", 6000}, {"schema", 3}}) {
        auto seen = symptoms();
        seen.health["n1"]["store"].as_object()[key] = value;
        CHECK(found(diagnose(pair(), seen)).front() == "bad store n1");
        CHECK_FALSE(replication_row("n1", seen.health["n1"]).at("good").as_bool());
        CHECK(replication_row("n2", seen.health["n2"]).at("good").as_bool());
    }
}

TEST_CASE("a node that does not answer is bad, and nothing else is said of it", "[doctor]") {
    auto seen = symptoms();
    seen.health["n2"] = json::object{{"reachable", false}};
    seen.no_failover["n1"] = {"n2 holds no lease"};
    const auto lines = found(diagnose(pair(), seen));
    CHECK(lines == Lines{"bad node n2", "bad redundancy g1", "warning site cluster"});
    CHECK(replication_row("n2", seen.health["n2"]).at("store") == "node does not answer");
}

TEST_CASE("Redis out of reach is bad; so are two generations", "[doctor]") {
    auto seen = symptoms();
    seen.health["n1"]["state_store"].as_object()["reachable"] = false;
    seen.health["n1"]["state_store"].as_object()["active"] = false;
    CHECK(found(diagnose(pair(), seen)).front() == "bad state-store n1");
    seen = symptoms();
    seen.health["n1"]["state_store"].as_object()["generation"] = 1;
    CHECK(found(diagnose(pair(), seen)).front() == "bad generation cluster");
}

TEST_CASE("different versions and files are warnings", "[doctor]") {
    auto seen = symptoms();
    seen.health["n1"]["version"] = "2";
    seen.health["n1"]["config"] = "xyz";
    const auto report = diagnose(pair(), seen);
    CHECK(report.at("good").as_bool());
    CHECK(found(report) ==
          Lines{"warning version cluster", "warning configuration cluster", "warning site cluster"});
}

TEST_CASE("a group over two sites is warned of the third, a lone node of its loss", "[doctor]") {
    CHECK(found(diagnose(pair("A", "B"), symptoms())) == Lines{"warning site g1"});
    auto config = pair("A", "B");
    GroupConfig lone;
    lone.name = "g2";
    lone.nodes.push_back(config.groups[0].nodes[0]);
    config.groups.push_back(lone);
    CHECK(found(diagnose(config, symptoms())) == Lines{"warning redundancy g2", "warning site g1"});
}

TEST_CASE("a gate that waits is told with the way out", "[doctor]") {
    auto seen = symptoms();
    seen.health["n1"]["gate"] = "directory staff";
    const auto report = diagnose(pair(), seen);
    CHECK(found(report).front() == "warning gate n1");
    CHECK(report.at("checks").at(0).at("do").as_string().find("hexactl gate override n1") !=
          json::string::npos);
}
