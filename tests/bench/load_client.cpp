#include "load_client.hpp"

#include <map>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/ids.hpp"
#include "base/text.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::bench {

namespace {

std::string hmac_sha1(std::string_view key, std::string_view text) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    HMAC(EVP_sha1(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), out, &size);
    return {reinterpret_cast<const char*>(out), size};
}

/// PBKDF2 once per salt: the generator measures the server, not itself.
const std::string& salted(const std::string& password, const std::string& salt, int iterations) {
    static std::map<std::string, std::string> cache;
    auto& out = cache[salt + std::to_string(iterations) + password];
    if (out.empty()) {
        out.resize(20);
        PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                          reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
                          iterations, EVP_sha1(), 20, reinterpret_cast<unsigned char*>(out.data()));
    }
    return out;
}

std::string field(const std::string& message, char name) {
    const auto start = message.find(std::string(1, name) + '=');
    if (start == std::string::npos) return {};
    const auto end = message.find(',', start);
    return message.substr(start + 2, end == std::string::npos ? end : end - start - 2);
}

}  // namespace

LoadClient::LoadClient(asio::io_context& io, const LoadOptions& options, const TlsClientContext& tls,
                       std::size_t number)
    : io_(io), options_(options), tls_(tls), name_(options.prefix + std::to_string(number)) {}

awaitable<Result<Element>> LoadClient::next() {
    for (;;) {
        if (auto event = parser_.next()) {
            if (event->kind == StanzaParser::Kind::header) continue;
            if (event->kind == StanzaParser::Kind::stanza) co_return std::move(event->element);
            co_return asio::error::make_error_code(asio::error::eof);
        }
        const auto bytes = co_await stream_->read();
        if (!bytes) co_return bytes.error();
        parser_.feed(*bytes);
    }
}

awaitable<bool> LoadClient::open() {
    parser_.reset();
    stream_->send(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams' "
        "version='1.0' to='" +
        options_.domain + "'>");
    const auto features = co_await next();
    co_return features && features->name() == "features";
}

awaitable<bool> LoadClient::authenticate() {
    const auto nonce = random_id(12);
    const std::string bare = "n=" + name_ + ",r=" + nonce;
    stream_->send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>" +
                  base64_encode("n,," + bare) + "</auth>");
    const auto challenge = co_await next();
    if (!challenge || challenge->name() != "challenge") co_return false;
    const auto first = base64_decode(challenge->text());
    if (!first) co_return false;
    const auto salt = base64_decode(field(*first, 's'));
    const int iterations = std::atoi(field(*first, 'i').c_str());
    if (!salt || iterations < 1) co_return false;
    const auto client_key = hmac_sha1(salted(options_.password, *salt, iterations), "Client Key");
    const auto without_proof = "c=biws,r=" + field(*first, 'r');
    const auto signature = hmac_sha1(sha1(client_key), bare + ',' + *first + ',' + without_proof);
    std::string proof = client_key;
    for (std::size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ signature[i]);
    stream_->send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" +
                  base64_encode(without_proof + ",p=" + base64_encode(proof)) + "</response>");
    const auto success = co_await next();
    co_return success && success->name() == "success";
}

bool LoadClient::fail(std::string what) {
    error_ = std::move(what);
    return false;
}

awaitable<bool> LoadClient::connect(const std::string& address) {
    asio::ip::tcp::socket socket(io_, asio::ip::tcp::v4());
    error_code error;
    socket.set_option(asio::socket_base::reuse_address(true), error);
    if (!options_.source.empty()) {
        // The port is chosen with the other end known: each of them has all ports to itself.
        const asio::detail::socket_option::integer<IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT> late_port(1);
        socket.set_option(late_port, error);
        socket.bind({asio::ip::make_address(options_.source), 0}, error);
        if (error) co_return fail("bind: " + error.message());
    }
    const asio::ip::tcp::endpoint to(asio::ip::make_address(address), options_.port);
    const auto [connect_error] = co_await socket.async_connect(to, asio::as_tuple(asio::use_awaitable));
    if (connect_error) co_return fail("connect: " + connect_error.message());
    stream_ = std::make_unique<TlsStream>(StreamSocket(std::move(socket)));
    std::vector<std::string> alpn{"xmpp-client"};
    if (const auto e = co_await stream_->client_handshake(tls_, options_.domain, alpn))
        co_return fail("tls: " + e.message());
    if (!co_await open()) co_return fail("stream");
    if (!co_await authenticate()) co_return fail("sasl");
    if (!co_await open()) co_return fail("stream after sasl");
    co_return true;
}

awaitable<bool> LoadClient::log_in() {
    if (!co_await connect(options_.address)) co_return false;
    counting_ = false;
    handled_ = 0;
    stream_->send(
        "<iq type='set' id='b'><bind "
        "xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>load</resource></bind></iq>");
    const auto bound = co_await next();
    const auto* inner = bound ? bound->find("bind", ns::bind) : nullptr;
    if (inner == nullptr) co_return fail("bind");
    jid_ = inner->child_text("jid", ns::bind);
    if (options_.stream_management) {
        stream_->send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        const auto enabled = co_await next();
        if (!enabled || enabled->name() != "enabled") co_return fail("enable");
        counting_ = true;
        resumption_id_ = enabled->attr("id");
    }
    stream_->send("<presence/>");
    co_return true;
}

awaitable<LoadClient::Resumed> LoadClient::resume(const std::string& address) {
    if (!co_await connect(address)) co_return Resumed::not_now;
    stream_->send("<resume xmlns='urn:xmpp:sm:3' previd='" + resumption_id_ + "' h='" +
                  std::to_string(handled_) + "'/>");
    const auto answer = co_await next();
    if (answer && answer->name() == "resumed") co_return Resumed::yes;
    const bool gone = answer && answer->find("item-not-found", ns::stanzas) != nullptr;
    co_return gone ? Resumed::gone : Resumed::not_now;
}

awaitable<void> LoadClient::read_on(std::function<void(const Element&)> on_message) {
    for (;;) {
        auto element = co_await next();
        if (!element) co_return;
        if (element->ns() == ns::sm) {
            if (element->name() == "r")
                stream_->send("<a xmlns='urn:xmpp:sm:3' h='" + std::to_string(handled_) + "'/>");
            continue;
        }
        if (counting_) ++handled_;
        if (element->name() == "message") on_message(*element);
    }
}

}  // namespace hexad::bench
