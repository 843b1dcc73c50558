#include "ha/canary.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/ids.hpp"
#include "base/text.hpp"
#include "xml/stanza_parser.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

constexpr int enough_failures = 3;

/// Why a login ended; thrown inside `login` alone, whose steps would otherwise each ask for it.
struct Ended {
    CanaryLook::Found found;
    std::string why;
};
Ended fails(std::string why) { return {CanaryLook::Found::fails, std::move(why)}; }
Ended unclear(std::string why) { return {CanaryLook::Found::unclear, std::move(why)}; }

Ended broken(const std::string& step, error_code error) {
    // It answers, and one side does not like the other's certificate; or this node lacks something itself.
    const bool ours = error.category() == asio::error::get_ssl_category() ||
                      error == boost::system::errc::too_many_files_open ||
                      error == boost::system::errc::too_many_files_open_in_system ||
                      error == boost::system::errc::no_buffer_space ||
                      error == boost::system::errc::not_enough_memory ||
                      error == boost::system::errc::address_not_available;
    const auto what = error == asio::error::operation_aborted ? "no answer" : error.message();
    return {ours ? CanaryLook::Found::unclear : CanaryLook::Found::fails, step + ": " + what};
}

/// The client's side of one stream, as far as it goes.
class Login {
public:
    Login(StreamSocket socket, const CanaryTarget& target, const std::string& step)
        : target_(target), step_(step), stream_(std::move(socket)) {
        stream_.abort_after(target.timeout);
    }

    awaitable<void> run() {
        const TlsClientContext trust(target_.tls.ca, target_.tls.cert, target_.tls.key);
        if (!target_.direct_tls) {
            step_ = "STARTTLS";
            open();
            co_await features();
            stream_.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            const auto answer = co_await element();
            if (!answer.is("proceed", ns::tls)) throw fails("STARTTLS: " + answer.name());
        }
        step_ = "TLS";
        std::vector<std::string> protocols{"xmpp-client"};
        const auto refused =
            co_await stream_.client_handshake(trust, target_.node, std::move(protocols), canary_host);
        if (refused) throw broken(step_, refused);
        step_ = "SASL";
        parser_.reset();
        open();
        const auto offered = co_await features();
        const auto* mechanisms = offered.find("mechanisms", ns::sasl);
        if (mechanisms == nullptr || mechanisms->child_text("mechanism", ns::sasl) != "EXTERNAL")
            throw unclear("SASL: EXTERNAL is not offered");
        stream_.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>" +
                     base64_encode(target_.from + '@' + canary_host) + "</auth>");
        const auto answer = co_await element();
        if (!answer.is("success", ns::sasl)) throw unclear("SASL: " + condition_of(answer));
        step_ = "bind";
        parser_.reset();
        open();
        co_await features();
        stream_.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        const auto bound = co_await element();
        const auto* bind = bound.find("bind", ns::bind);
        if (bind == nullptr) throw fails("bind: " + condition_of(bound));
        step_ = "message";
        const auto id = random_id(8);
        stream_.send("<message type='chat' id='" + id + "' to='" + bind->child_text("jid", ns::bind) +
                     "'><body>" + id + "</body></message>");
        const auto back = co_await element();
        if (back.attr("id") != id || back.child_text("body", ns::client) != id)
            throw fails("message: another one came back");
        stream_.send("</stream:stream>");
    }
    awaitable<void> close() { co_await stream_.close(milliseconds(200)); }

private:
    void open() {
        stream_.send(std::string("<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
                                 "xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='") +
                     canary_host + "'>");
    }
    static std::string condition_of(const Element& element) {
        if (const auto* error = element.find("error", ns::client)) return condition_of(*error);
        const auto* first = element.first_element();
        return first == nullptr ? element.name() : first->name();
    }
    awaitable<StanzaParser::Event> event() {
        for (;;) {
            if (auto next = parser_.next()) co_return std::move(*next);
            const auto bytes = co_await stream_.read();
            if (!bytes) throw broken(step_, bytes.error());
            parser_.feed(*bytes);
        }
    }
    awaitable<Element> element() {
        auto next = co_await event();
        if (next.kind == StanzaParser::Kind::header) next = co_await event();
        if (next.kind != StanzaParser::Kind::stanza) throw fails(step_ + ": the stream ended");
        if (next.element.is("error", ns::streams)) {
            const auto condition = condition_of(next.element);
            // An older version does not know the host; a newer one may have other rules.
            const bool stranger = condition == "host-unknown" || condition == "policy-violation";
            throw Ended{stranger ? CanaryLook::Found::unclear : CanaryLook::Found::fails,
                        step_ + ": " + condition};
        }
        co_return std::move(next.element);
    }
    awaitable<Element> features() {
        auto found = co_await element();
        if (!found.is("features", ns::streams)) throw fails(step_ + ": " + found.name());
        co_return found;
    }

    const CanaryTarget& target_;
    std::string step_;
    TlsStream stream_;
    StanzaParser parser_;
};

awaitable<error_code> connect_to(asio::ip::tcp::socket& socket, const CanaryTarget& target) {
    using namespace asio::experimental::awaitable_operators;
    error_code error;
    const asio::ip::tcp::endpoint to(asio::ip::make_address(target.address, error), target.port);
    const auto from = asio::ip::make_address(target.from_address, error);
    socket.open(to.protocol(), error);
    if (!error && from.is_v4() == to.address().is_v4() && !from.is_unspecified())
        socket.bind({from, 0}, error);
    if (error) co_return error;
    asio::steady_timer late(socket.get_executor(), target.timeout);
    const auto first = co_await (socket.async_connect(to, asio::as_tuple(asio::use_awaitable)) ||
                                 late.async_wait(asio::as_tuple(asio::use_awaitable)));
    co_return first.index() == 0 ? std::get<0>(std::get<0>(first))
                                 : error_code(asio::error::make_error_code(asio::error::timed_out));
}

awaitable<void> login(asio::io_context& io, const CanaryTarget& target) {
    const auto where = "port " + std::to_string(target.port);
    asio::ip::tcp::socket socket(io);
    if (const auto error = co_await connect_to(socket, target)) throw broken(where, error);
    Login login(StreamSocket(std::move(socket)), target, where);
    co_await login.run();
    co_await login.close();
}

}  // namespace

awaitable<CanaryLook> look_at_service(asio::io_context& io, CanaryTarget target) {
    CanaryLook out;
    const auto began = SteadyClock::now();
    try {
        co_await login(io, target);
        out.found = CanaryLook::Found::serves;
    } catch (const Ended& ended) {
        out.found = ended.found;
        out.why = ended.why;
    } catch (const std::exception& e) {  // this node's own certificate files
        out.why = e.what();
    }
    out.took = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - began);
    co_return out;
}

void CanaryJudge::add(const CanaryLook& look, SteadyClock::time_point began, SteadyClock::time_point ended) {
    last_ = look;
    switch (look.found) {
        case CanaryLook::Found::serves:
            failures_ = 0;
            has_served_ = true;
            verdict_ = Verdict::serves;
            break;
        case CanaryLook::Found::unclear:
            failures_ = 0;
            verdict_ = Verdict::unclear;
            break;
        case CanaryLook::Found::fails:
            if (failures_++ == 0) failing_since_ = began;
            if (failures_ < enough_failures || ended - failing_since_ < service_down_) break;
            // A way that has never been open may be shut by a firewall between the nodes.
            verdict_ = has_served_ ? Verdict::not_serving : Verdict::unclear;
            break;
    }
}

void CanaryJudge::pause() {
    failures_ = 0;
    verdict_ = Verdict::unknown;
}

milliseconds CanaryJudge::failing(SteadyClock::time_point now) const {
    if (verdict_ != Verdict::not_serving) return milliseconds(0);
    return std::chrono::duration_cast<milliseconds>(now - failing_since_);
}

}  // namespace hexad
