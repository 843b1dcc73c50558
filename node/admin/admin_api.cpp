#include "admin/admin_api.hpp"

#include <charconv>

#include <boost/json.hpp>

#include "admin/assignment_api.hpp"
#include "admin/ha_api.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "base/text.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

HttpResponse fault(int status, std::string_view text) {
    return HttpResponse::json(status, json::serialize(json::object{{"error", text}}) + '\n');
}
HttpResponse reply(const json::value& value, int status = 200) {
    return HttpResponse::json(status, json::serialize(value) + '\n');
}
HttpResponse store_fault() {
    return fault(503, "the store does not answer; see the events store_down and store_up");
}

std::string_view state_name(AccountState state) {
    switch (state) {
        case AccountState::active:
            return "active";
        case AccountState::disabled:
            return "disabled";
        case AccountState::missing:
            return "missing";
        case AccountState::deactivated:
            break;
    }
    return "deactivated";
}

json::object account_json(const AccountRow& row) {
    return {{"jid", row.jid.to_string()},
            {"home", row.home_node},
            {"source", row.source == AccountSource::ldap ? "ldap" : "local"},
            {"state", state_name(row.state)},
            {"pinned", row.pinned},
            {"created", format_time_s(row.created)}};
}

/// Compares without telling by its time where the difference is.
bool same_secret(std::string_view a, std::string_view b) {
    unsigned difference = a.size() == b.size() ? 0 : 1;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(i < b.size() ? b[i] : 0);
    }
    return difference == 0;
}

class Admin {
public:
    explicit Admin(AdminContext context) : c_(std::move(context)) {}

    bool allowed(const HttpRequest& request) const {
        constexpr std::string_view bearer = "Bearer ";
        const auto header = request.header("Authorization");
        return !c_.token.empty() && header.starts_with(bearer) &&
               same_secret(header.substr(bearer.size()), c_.token);
    }

    awaitable<HttpResponse> users_get(HttpRequest& request) {
        const auto name = tail(request, "/v1/users");
        if (!name.empty()) {
            const auto jid = Jid::parse(name);
            if (!jid || jid->is_full() || jid->local().empty())
                co_return fault(400, "no account address: " + name);
            const auto row = co_await c_.store.find_account(*jid);
            if (!row) co_return store_fault();
            if (!*row) co_return fault(404, "no such account: " + name);
            auto object = account_json(**row);
            json::array resources;
            if (const auto* route = c_.router.routes().find(*jid)) {
                for (const auto& entry : route->sessions)
                    resources.push_back(json::value(entry.jid.to_string()));
            }
            object["sessions"] = resources;
            co_return reply(object);
        }
        const auto limit_text = request.parameter("limit").value_or("0");
        std::size_t limit = 0;
        std::from_chars(limit_text.data(), limit_text.data() + limit_text.size(), limit);
        if (limit == 0) limit = 1000000;
        json::array out;
        for (const auto& host : c_.config.hosts) {
            std::string after;
            while (out.size() < limit) {
                const auto rows = co_await c_.store.list_accounts(
                    host.name, after, std::min<std::size_t>(5000, limit - out.size()));
                if (!rows) co_return store_fault();
                if (rows->empty()) break;
                for (const auto& row : *rows) out.push_back(account_json(row));
                after = std::string(rows->back().jid.local());
            }
        }
        co_return reply(out);
    }

    awaitable<HttpResponse> users_post(HttpRequest& request) {
        if (request.path() == "/v1/users/import") co_return co_await import(request);
        const auto body = co_await request.body(65536);
        if (!body) co_return fault(400, "the body is missing or too long");
        const auto object = parse(*body);
        if (!object) co_return fault(400, "the body is no JSON object");
        const auto jid = Jid::parse(text_of(*object, "jid"));
        const auto password = text_of(*object, "password");
        if (auto bad = check_name(jid)) co_return std::move(*bad);
        if (password.empty()) co_return fault(400, "password is missing");
        AccountRow row;
        row.jid = *jid;
        row.created = wall_now();
        auto keys = co_await c_.derive(password);
        if (keys.empty()) co_return fault(400, "the password has characters that cannot be used (RFC 4013)");
        const auto created = co_await c_.store.create_account(row, std::move(keys));
        if (!created) {
            if (created.error() == StorageError::conflict)
                co_return fault(409, "the account exists: " + jid->to_string());
            co_return store_fault();
        }
        c_.router.accounts().forget_missing(*jid);
        c_.account_changed(*jid);
        // The store has found it a home node, or none had room.
        if (const auto made = co_await c_.store.find_account(*jid); made && *made) row = **made;
        log_info("account_created", {{"jid", jid->to_string()}, {"home", row.home_node}});
        co_return reply(account_json(row), 201);
    }

    awaitable<HttpResponse> users_put(HttpRequest& request) {
        const auto jid = Jid::parse(tail(request, "/v1/users"));
        if (!jid) co_return fault(400, "no account address");
        const auto body = co_await request.body(65536);
        const auto object = body ? parse(*body) : std::nullopt;
        if (!object) co_return fault(400, "the body is no JSON object");
        const auto row = co_await c_.store.find_account(*jid);
        if (!row) co_return store_fault();
        if (!*row) co_return fault(404, "no such account: " + jid->to_string());
        if (const auto password = text_of(*object, "password"); !password.empty()) {
            if ((*row)->source == AccountSource::ldap)
                co_return fault(409, "the directory keeps this account's password");
            auto keys = co_await c_.derive(password);
            if (keys.empty())
                co_return fault(400, "the password has characters that cannot be used (RFC 4013)");
            if (!co_await c_.store.set_credentials((*row)->id, std::move(keys))) co_return store_fault();
        }
        if (const auto state = text_of(*object, "state"); !state.empty()) {
            if (state != "active" && state != "disabled") co_return fault(400, "state is active or disabled");
            const auto next = state == "active" ? AccountState::active : AccountState::disabled;
            if (!co_await c_.store.set_account_state((*row)->id, next)) co_return store_fault();
            co_await c_.router.accounts().reload(*jid);
            if (next == AccountState::disabled)
                end_sessions(*jid, "not-authorized", "the account was disabled");
        }
        c_.account_changed(*jid);
        co_return reply(json::object{{"jid", jid->to_string()}});
    }

    awaitable<HttpResponse> users_delete(HttpRequest& request) {
        const auto jid = Jid::parse(tail(request, "/v1/users"));
        if (!jid) co_return fault(400, "no account address");
        const auto row = co_await c_.store.find_account(*jid);
        if (!row) co_return store_fault();
        if (!*row) co_return fault(404, "no such account: " + jid->to_string());
        end_sessions(*jid, "not-authorized", "the account was removed");
        if (!co_await c_.store.remove_account((*row)->id)) co_return store_fault();
        c_.router.accounts().remove(*jid);
        c_.account_changed(*jid);
        log_info("account_removed", {{"jid", jid->to_string()}});
        co_return reply(json::object{{"removed", jid->to_string()}});
    }

    awaitable<HttpResponse> sessions_get(HttpRequest&) {
        json::array out;
        for (const auto& [sid, session] : c_.router.sessions()) {
            out.push_back(json::object{{"jid", session->state.jid.to_string()},
                                       {"node", c_.node},
                                       {"state", session->wire != nullptr ? "attached" : "detached"},
                                       {"resumable", session->resumable},
                                       {"priority", session->state.priority},
                                       {"available", session->state.available},
                                       {"unacknowledged", session->unacked()}});
        }
        co_return reply(out);
    }

    awaitable<HttpResponse> sessions_delete(HttpRequest& request) {
        const auto jid = Jid::parse(tail(request, "/v1/sessions"));
        if (!jid || jid->is_bare()) co_return fault(400, "a session is named by its full address");
        const auto* entry = c_.router.routes().find_session(*jid);
        const auto session = entry == nullptr ? nullptr : c_.router.find_session(entry->sid);
        if (!session) co_return fault(404, "no such session: " + jid->to_string());
        c_.router.kick(session, "policy-violation", "ended by an administrator");
        co_return reply(json::object{{"ended", jid->to_string()}});
    }

    static std::string state_of(const RoomRow& room) {
        return room.moves_from.empty() ? "at home" : "on its way from " + room.moves_from;
    }

    awaitable<HttpResponse> room_get(HttpRequest& request) {
        const auto name = tail(request, "/v1/rooms");
        if (name.empty()) co_return co_await rooms_get(request);
        const auto jid = Jid::parse(name);
        if (!jid) co_return fault(400, "no room address");
        const auto found = co_await c_.store.load_room(jid->bare());
        if (!found) co_return store_fault();
        if (!*found || (*found)->config.empty()) co_return fault(404, "no such room: " + jid->to_string());
        const auto& room = **found;
        const auto* group = c_.config.group_of(room.home_node);
        json::object out{{"jid", room.jid.to_string()}, {"home", room.home_node}};
        out["group"] = group == nullptr ? "not configured" : group->name;
        out["state"] = state_of(room);
        out["epoch"] = room.epoch;
        out["messages"] = room.hist;
        out["affiliations"] = room.affiliations.size();
        co_return reply(out);
    }

    awaitable<HttpResponse> rooms_get(HttpRequest&) {
        json::array out;
        for (const auto& host : c_.config.hosts) {
            const auto rooms = co_await c_.store.list_rooms("rooms." + host.name);
            if (!rooms) co_return store_fault();
            for (const auto& room : *rooms) {
                out.push_back(json::object{{"jid", room.jid.to_string()},
                                           {"home", room.home_node},
                                           {"epoch", room.epoch},
                                           {"messages", room.hist},
                                           {"state", state_of(room)}});
            }
        }
        co_return reply(out);
    }

    awaitable<HttpResponse> rooms_delete(HttpRequest& request) {
        const auto jid = Jid::parse(tail(request, "/v1/rooms"));
        if (!jid) co_return fault(400, "no room address");
        if (!co_await c_.destroy_room(*jid)) co_return fault(404, "no such room: " + jid->to_string());
        co_return reply(json::object{{"destroyed", jid->to_string()}});
    }

    awaitable<HttpResponse> nodes_get(HttpRequest&) {
        json::array out;
        for (auto& node : co_await c_.nodes()) out.push_back(std::move(node));
        co_return reply(out);
    }

    /// GET /v1/sync, /v1/sync/review, /v1/sync/explain/<jid>.
    awaitable<HttpResponse> sync_get(HttpRequest& request) {
        auto what = tail(request, "/v1/sync");
        json::object given{{"run", request.parameter("run").value_or("0")},
                           {"runs", request.parameter("runs").value_or("10")}};
        if (what.starts_with("explain/")) {
            given["jid"] = what.substr(8);
            what = "explain";
        }
        if (what != "" && what != "review" && what != "explain")
            co_return fault(404, "no such view: " + what);
        if (what.empty()) what = "status";
        co_return co_await at_desk(std::move(what), std::move(given));
    }

    /// POST /v1/sync {"kind": …, "agreement": …, "run": …}: for the agent to do.
    awaitable<HttpResponse> sync_post(HttpRequest& request) {
        const auto body = co_await request.body(65536);
        auto object = body ? parse(*body) : std::nullopt;
        if (!object) co_return fault(400, "the body is no JSON object");
        const auto kind = text_of(*object, "kind");
        if (kind != "run" && kind != "full" && kind != "plan" && kind != "test" && kind != "approve" &&
            kind != "reject")
            co_return fault(400, "kind is run, full, plan, test, approve or reject");
        co_return co_await at_desk("ask", std::move(*object));
    }

    awaitable<HttpResponse> ready(HttpRequest&) {
        if (c_.ready()) co_return HttpResponse(200, "ready\n");
        co_return HttpResponse(503, c_.not_ready_reason() + '\n');
    }

private:
    awaitable<HttpResponse> at_desk(std::string what, json::object given) {
        if (!c_.sync && what == "explain")
            co_return fault(404, "this server is one node alone: it is everybody's home node");
        if (!c_.sync || (what != "explain" && c_.config.agreements.empty()))
            co_return fault(404, "no directory is configured here: see [[agreement]]");
        const auto [status, value] = co_await c_.sync(std::move(what), std::move(given));
        co_return reply(value, status);
    }
    static std::string tail(const HttpRequest& request, std::string_view prefix) {
        auto path = std::string_view(request.path()).substr(prefix.size());
        if (path.starts_with('/')) path.remove_prefix(1);
        return std::string(path);
    }
    static std::optional<json::object> parse(std::string_view text) {
        boost::system::error_code error;
        auto value = json::parse({text.data(), text.size()}, error);
        if (error || !value.is_object()) return std::nullopt;
        return std::move(value.as_object());
    }
    static std::string text_of(const json::object& object, std::string_view key) {
        const auto* value = object.if_contains({key.data(), key.size()});
        if (value == nullptr || !value->is_string()) return {};
        return std::string(value->as_string().c_str());
    }
    std::optional<HttpResponse> check_name(const Result<Jid, JidError>& jid) const {
        if (!jid || jid->is_full() || jid->local().empty())
            return fault(400, "jid must be of the form name@host");
        for (const auto& host : c_.config.hosts) {
            if (host.name != jid->domain()) continue;
            if (host.auth == HostAuth::directory)
                return fault(409, "accounts of " + host.name + " come from the directory");
            return std::nullopt;
        }
        return fault(400, "this cluster does not serve " + std::string(jid->domain()));
    }
    void end_sessions(const Jid& jid, const std::string& condition, const std::string& text) {
        std::vector<SessionPtr> ending;
        if (const auto* route = c_.router.routes().find(jid)) {
            for (const auto& entry : route->sessions) {
                if (auto session = c_.router.find_session(entry.sid)) ending.push_back(std::move(session));
            }
        }
        for (const auto& session : ending) c_.router.kick(session, condition, text);
    }

    /// An import as far as it has been read.
    struct Import {
        std::string rest;  ///< a line that has not ended yet
        std::size_t lines = 0;
        std::string error;
        std::vector<Store::NewAccount> accounts;
    };
    awaitable<error_code> take_lines(Import& state, std::string_view part) const {
        state.rest += part;
        for (std::size_t end; (end = state.rest.find('\n')) != std::string::npos;) {
            ++state.lines;
            if (!read_line(std::string_view(state.rest).substr(0, end), state.accounts, state.error)) {
                state.error = "line " + std::to_string(state.lines) + ": " + state.error;
                co_return boost::system::errc::make_error_code(boost::system::errc::bad_message);
            }
            state.rest.erase(0, end + 1);
        }
        co_return error_code{};
    }

    /// JSON lines, `{"jid": …, "scram": [{mechanism, salt, iterations, stored_key, server_key}, …]}`, keys in
    /// base64.
    awaitable<HttpResponse> import(HttpRequest& request) {
        Import state;
        const HttpRequest::Sink sink = [this, &state](std::string_view part) {
            return take_lines(state, part);
        };
        const auto failed = co_await request.read_body(std::uint64_t{1} << 30, sink);
        if (!state.error.empty()) co_return fault(400, state.error);
        if (failed) co_return fault(400, "the body broke off; nothing was imported");
        auto& accounts = state.accounts;
        if (!state.rest.empty() && !read_line(state.rest, accounts, state.error))
            co_return fault(400, "last line: " + state.error);
        std::vector<Jid> names;
        for (const auto& account : accounts) names.push_back(account.row.jid);
        const auto done = co_await c_.store.import_accounts(std::move(accounts));
        if (!done) co_return store_fault();
        for (const auto& name : names) c_.router.accounts().forget_missing(name);
        log_info("accounts_imported", {{"created", static_cast<std::uint64_t>(*done)}});
        co_return reply(json::object{{"created", *done}, {"lines", names.size()}}, 201);
    }

    bool read_line(std::string_view line, std::vector<Store::NewAccount>& out, std::string& error) const {
        if (line.find_first_not_of(" \r\t") == std::string_view::npos) return true;
        const auto object = parse(line);
        if (!object) {
            error = "no JSON object";
            return false;
        }
        const auto jid = Jid::parse(text_of(*object, "jid"));
        if (check_name(jid)) {
            error = "jid is missing, or not of a local host of this cluster";
            return false;
        }
        Store::NewAccount account;
        account.row.jid = *jid;
        account.row.created = wall_now();
        const auto* keys = object->if_contains("scram");
        if (keys == nullptr || !keys->is_array()) {
            error = "scram is missing";
            return false;
        }
        for (const auto& key : keys->as_array()) {
            if (!key.is_object()) {
                error = "scram holds objects";
                return false;
            }
            const auto& k = key.as_object();
            const auto salt = base64_decode(text_of(k, "salt"));
            const auto stored = base64_decode(text_of(k, "stored_key"));
            const auto server = base64_decode(text_of(k, "server_key"));
            const auto* iterations = k.if_contains("iterations");
            if (!salt || !stored || !server || iterations == nullptr || !iterations->is_int64() ||
                iterations->as_int64() < 1) {
                error = "a SCRAM key is not complete";
                return false;
            }
            account.keys.push_back(
                {text_of(k, "mechanism"), *salt, static_cast<int>(iterations->as_int64()), *stored, *server});
        }
        out.push_back(std::move(account));
        return true;
    }

    AdminContext c_;
};

awaitable<HttpResponse> no_token() {
    co_return std::move(
        fault(401, "a bearer token is needed: see [admin] token_file").set("WWW-Authenticate", "Bearer"));
}

}  // namespace

void serve_admin(HttpServer& server, const AdminContext& context, bool trusted) {
    auto admin = std::make_shared<Admin>(context);
    const auto route = [&](const std::string& method, const std::string& path,
                           awaitable<HttpResponse> (Admin::*handler)(HttpRequest&)) {
        server.route(method, path,
                     [admin, trusted, handler](HttpRequest& request) -> awaitable<HttpResponse> {
                         if (!trusted && !admin->allowed(request)) return no_token();
                         return ((*admin).*handler)(request);
                     });
    };
    route("GET", "/v1/users", &Admin::users_get);
    route("POST", "/v1/users", &Admin::users_post);
    route("PUT", "/v1/users", &Admin::users_put);
    route("DELETE", "/v1/users", &Admin::users_delete);
    route("GET", "/v1/sessions", &Admin::sessions_get);
    route("DELETE", "/v1/sessions", &Admin::sessions_delete);
    route("GET", "/v1/rooms", &Admin::room_get);
    route("DELETE", "/v1/rooms", &Admin::rooms_delete);
    route("GET", "/v1/nodes", &Admin::nodes_get);
    route("GET", "/v1/sync", &Admin::sync_get);
    route("POST", "/v1/sync", &Admin::sync_post);

    const auto add = [&](const std::string& method, const std::string& path, HttpServer::Handler handler) {
        server.route(method, path,
                     [admin, trusted, handler](HttpRequest& request) -> awaitable<HttpResponse> {
                         return trusted || admin->allowed(request) ? handler(request) : no_token();
                     });
    };
    serve_ha(add, context);
    serve_assignment(add, context);

    // Without a token: they say nothing about anybody.
    server.route("GET", "/healthz",
                 [](HttpRequest&) -> awaitable<HttpResponse> { co_return HttpResponse(200, "alive\n"); });
    server.route("GET", "/readyz", [admin](HttpRequest& request) { return admin->ready(request); });
    server.route("GET", "/metrics", [](HttpRequest&) -> awaitable<HttpResponse> {
        co_return HttpResponse(200, Metrics::instance().render(), "text/plain; version=0.0.4");
    });
}

}  // namespace hexad
