#include "admin/assignment_api.hpp"

#include <charconv>

#include <boost/json.hpp>

namespace hexad {

namespace json = boost::json;

namespace {

HttpResponse reply(const AssignmentKeeper::Answer& answer) {
    return HttpResponse::json(answer.status, json::serialize(answer.value) + '\n');
}
HttpResponse fault(int status, std::string_view text) {
    return HttpResponse::json(status, json::serialize(json::object{{"error", text}}) + '\n');
}

class AssignmentApi {
public:
    explicit AssignmentApi(AdminContext context) : c_(std::move(context)) {}

    awaitable<HttpResponse> assign(HttpRequest& request) { return act(request, &AssignmentKeeper::command); }
    awaitable<HttpResponse> room(HttpRequest& request) {
        return act(request, &AssignmentKeeper::room_command);
    }
    awaitable<HttpResponse> rebalance(HttpRequest& request) {
        return act(request, &AssignmentKeeper::rebalance);
    }
    awaitable<HttpResponse> plan(HttpRequest&) {
        if (c_.assignment == nullptr) co_return no_cluster();
        co_return reply(co_await c_.assignment->plan());
    }
    awaitable<HttpResponse> status(HttpRequest& request) {
        if (c_.assignment == nullptr) co_return no_cluster();
        const auto text = request.parameter("runs").value_or("");
        std::size_t runs = 10;
        std::from_chars(text.data(), text.data() + text.size(), runs);
        co_return reply(co_await c_.assignment->status(runs));
    }

private:
    static HttpResponse no_cluster() {
        return fault(409, "this server is one node alone: it is everybody's home node");
    }
    awaitable<HttpResponse> act(HttpRequest& request,
                                awaitable<AssignmentKeeper::Answer> (AssignmentKeeper::*what)(json::object)) {
        if (c_.assignment == nullptr) co_return no_cluster();
        const auto body = co_await request.body(65536);
        error_code error;
        auto value = body ? json::parse(*body, error) : json::value();
        if (error || !value.is_object()) co_return fault(400, "the body is no JSON object");
        co_return reply(co_await (c_.assignment->*what)(std::move(value.as_object())));
    }

    AdminContext c_;
};

}  // namespace

void serve_assignment(
    const std::function<void(const std::string&, const std::string&, HttpServer::Handler)>& add,
    const AdminContext& context) {
    auto api = std::make_shared<AssignmentApi>(context);
    add("POST", "/v1/assignment", [api](HttpRequest& r) { return api->assign(r); });
    add("POST", "/v1/rooms", [api](HttpRequest& r) { return api->room(r); });
    add("GET", "/v1/rebalance/plan", [api](HttpRequest& r) { return api->plan(r); });
    add("GET", "/v1/rebalance", [api](HttpRequest& r) { return api->status(r); });
    add("POST", "/v1/rebalance", [api](HttpRequest& r) { return api->rebalance(r); });
}

}  // namespace hexad
