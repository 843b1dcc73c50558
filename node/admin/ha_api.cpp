#include "admin/ha_api.hpp"

#include <array>
#include <charconv>
#include <cstdio>

#include <boost/json.hpp>

#include "base/text.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

HttpResponse reply(const json::value& value, int status = 200) {
    return HttpResponse::json(status, json::serialize(value) + '\n');
}
HttpResponse fault(int status, std::string_view text) { return reply(json::object{{"error", text}}, status); }
HttpResponse no_cluster() {
    return fault(409, "this node is no part of a cluster: it has no redundancy group");
}

std::uint64_t number(HttpRequest& request, const std::string& name, std::uint64_t otherwise) {
    const auto text = request.parameter(name).value_or("");
    std::uint64_t value = otherwise;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

awaitable<std::map<std::string, std::uint64_t>> assigned(Store& store) {
    std::map<std::string, std::uint64_t> out;
    if (const auto counts = co_await store.assignment_counts()) out = *counts;
    co_return out;
}

/// Of the clients that come back after a loss: `n1: 37 of 40 back, 2.0/s, 3 wait, until 2026-…`.
std::string in_words(const json::object& relogin) {
    const auto number = [&](const char* key) { return json::serialize(relogin.at(key)); };
    std::array<char, 16> rate{};
    std::snprintf(rate.data(), rate.size(), "%.1f", relogin.at("per_second").to_number<double>());
    return std::string(relogin.at("of").as_string()) + ": " + number("back") + " of " + number("sessions") +
           " back, " + rate.data() + "/s, " + number("waiting") + " wait, until " +
           std::string(relogin.at("expected_end").as_string());
}

class HaApi {
public:
    explicit HaApi(AdminContext context) : c_(std::move(context)) {}

    awaitable<HttpResponse> topology(HttpRequest&) {
        if (c_.ha == nullptr) co_return no_cluster();
        auto counts = co_await assigned(c_.store);
        co_return reply(co_await c_.ha->topology(std::move(counts)));
    }

    /// One row for each node, of one group if it is named.
    awaitable<HttpResponse> status(HttpRequest& request) {
        if (c_.ha == nullptr) co_return no_cluster();
        const auto wanted = request.parameter("group").value_or("");
        auto counts = co_await assigned(c_.store);
        const auto all = co_await c_.ha->topology(std::move(counts));
        json::array out;
        for (const auto& group : all.at("groups").as_array()) {
            const auto& name = group.at("name");
            if (!wanted.empty() && name.as_string() != wanted) continue;
            for (const auto& node : group.at("nodes").as_array()) {
                json::object row{{"node", node.at("name")}, {"group", name}};
                for (const auto* key :
                     {"state", "reason", "since", "serving", "epoch", "held", "draining", "service"})
                    row[key] = node.at(key);
                const auto& relogin = node.at("relogin");
                row["relogin"] = relogin.is_object() ? json::value(in_words(relogin.as_object())) : nullptr;
                row["failover_possible"] = node.at("failover").at("possible");
                row["do"] = node.at("do");
                out.push_back(std::move(row));
            }
        }
        if (out.empty()) co_return fault(404, "there is no group " + wanted);
        co_return reply(out);
    }

    awaitable<HttpResponse> command(HttpRequest& request) {
        if (c_.ha == nullptr) co_return no_cluster();
        const auto body = co_await request.body(65536);
        error_code error;
        auto value = body ? json::parse(*body, error) : json::value();
        if (error || !value.is_object()) co_return fault(400, "the body is no JSON object");
        const auto answer = co_await c_.ha->command(std::move(value.as_object()));
        co_return reply(answer, answer.contains("error") ? 409 : 200);
    }

    awaitable<HttpResponse> verify(HttpRequest&) {
        if (c_.ha == nullptr) co_return no_cluster();
        const auto found = co_await c_.ha->verify();
        if (!found) co_return fault(503, "Redis or the store does not answer");
        co_return reply(*found);
    }

    awaitable<HttpResponse> replication(HttpRequest&) {
        if (c_.ha == nullptr) co_return no_cluster();
        co_return reply(co_await c_.ha->replication());
    }

    awaitable<HttpResponse> doctor(HttpRequest&) {
        if (c_.ha == nullptr) co_return no_cluster();
        co_return reply(co_await c_.ha->doctor());
    }

    awaitable<HttpResponse> events(HttpRequest& request) {
        if (c_.ha == nullptr) co_return no_cluster();
        const auto after = number(request, "after", 0);
        const auto limit = std::clamp<std::uint64_t>(number(request, "limit", 100), 1, 1000);
        auto kind = request.parameter("kind").value_or("");
        const auto found = co_await c_.ha->events(after, std::move(kind), limit);
        if (!found) co_return fault(503, "the store does not answer; see the log for its last events");
        json::array out;
        for (const auto& event : *found) {
            error_code broken;
            auto fields = json::parse(event.fields, broken);
            json::object row{{"id", event.id}, {"at", format_time(event.at)}};
            row["node"] = event.node;
            row["event"] = event.kind;
            row["fields"] = broken ? json::value(json::object{}) : std::move(fields);
            out.push_back(std::move(row));
        }
        co_return reply(out);
    }

private:
    AdminContext c_;
};

}  // namespace

void serve_ha(const std::function<void(const std::string&, const std::string&, HttpServer::Handler)>& add,
              const AdminContext& context) {
    auto api = std::make_shared<HaApi>(context);
    add("GET", "/v1/topology", [api](HttpRequest& r) { return api->topology(r); });
    add("GET", "/v1/ha", [api](HttpRequest& r) { return api->status(r); });
    add("POST", "/v1/ha", [api](HttpRequest& r) { return api->command(r); });
    add("GET", "/v1/cluster/verify", [api](HttpRequest& r) { return api->verify(r); });
    add("GET", "/v1/replication", [api](HttpRequest& r) { return api->replication(r); });
    add("GET", "/v1/doctor", [api](HttpRequest& r) { return api->doctor(r); });
    add("GET", "/v1/events", [api](HttpRequest& r) { return api->events(r); });
}

}  // namespace hexad
