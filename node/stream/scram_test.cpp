#include "stream/scram.hpp"

#include <memory>

#include <catch2/catch.hpp>
#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/text.hpp"

using namespace hexad;

namespace {

const std::string secret = "the cluster's secret";
const ChannelBindings bound{std::string(32, 'e'), std::string(32, 'p')};

ScramKeys keys_of(std::string_view password, ScramHash hash, int iterations = 4096) {
    return *derive_credentials(password, hash, "sixteen bytes ok", iterations);
}

/// libgsasl's client side, the oracle. It speaks with `server` until one of them is done.
struct Client {
    std::string user = "romeo";
    std::string password = "wherefore art thou";
    std::string authzid;
    std::string exporter;  // the client's idea of it; empty = it cannot bind

    /// "ok", or what failed.
    std::string log_in(const char* mechanism, ScramServer& server, const ScramKeys* keys) const {
        Gsasl* context = nullptr;
        gsasl_init(&context);
        const std::unique_ptr<Gsasl, void (*)(Gsasl*)> context_owner(context, gsasl_done);
        Gsasl_session* session = nullptr;
        if (gsasl_client_start(context, mechanism, &session) != GSASL_OK) return "client: mechanism";
        const std::unique_ptr<Gsasl_session, void (*)(Gsasl_session*)> session_owner(session, gsasl_finish);
        gsasl_property_set(session, GSASL_AUTHID, user.c_str());
        gsasl_property_set(session, GSASL_PASSWORD, password.c_str());
        if (!authzid.empty()) gsasl_property_set(session, GSASL_AUTHZID, authzid.c_str());
        if (!exporter.empty())
            gsasl_property_set(session, GSASL_CB_TLS_EXPORTER, base64_encode(exporter).c_str());
        const auto step = [&](const std::string& input, std::string& output) {
            char* out = nullptr;
            std::size_t size = 0;
            const int rc = gsasl_step(session, input.data(), input.size(), &out, &size);
            output.assign(out != nullptr ? out : "", size);
            gsasl_free(out);
            return rc;
        };
        std::string message;
        if (step("", message) != GSASL_NEEDS_MORE) return "client: first";
        const auto first = server.first(message);
        if (!first) return "server: " + std::string(sasl_condition(first.error()));
        if (first->username != user || first->authzid != authzid) return "server: took another name";
        if (step(server.challenge(keys, secret), message) != GSASL_NEEDS_MORE) return "client: challenge";
        const auto final = server.finish(message);
        if (!final) return "server: " + std::string(sasl_condition(final.error()));
        if (step(*final, message) != GSASL_OK) return "client: server is not authentic";
        return "ok";
    }
};

/// A client in few lines, for the channel bindings that libgsasl does not speak. Ties to the standard by the
/// vectors below.
std::string final_message(ScramHash hash, std::string_view password, const std::string& bound_header,
                          const std::string& first_bare, const std::string& challenge) {
    const auto* digest = hash == ScramHash::sha512 ? EVP_sha512() : EVP_sha256();
    const auto mac = [&](const std::string& key, const std::string& text) {
        unsigned char out[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        HMAC(digest, key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), out, &size);
        return std::string(reinterpret_cast<char*>(out), size);
    };
    const auto salt_at = challenge.find(",s=") + 3;
    const auto count_at = challenge.find(",i=");
    const auto salt = *base64_decode(challenge.substr(salt_at, count_at - salt_at));
    std::string salted(static_cast<std::size_t>(EVP_MD_get_size(digest)), '\0');
    PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                      reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
                      std::stoi(challenge.substr(count_at + 3)), digest, static_cast<int>(salted.size()),
                      reinterpret_cast<unsigned char*>(salted.data()));
    auto proof = mac(salted, "Client Key");
    unsigned char stored[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_Digest(proof.data(), proof.size(), stored, &size, digest, nullptr);
    const auto without_proof =
        "c=" + base64_encode(bound_header) + ',' + challenge.substr(0, challenge.find(',')) + ",x=ext";
    const auto signature = mac(std::string(reinterpret_cast<char*>(stored), size),
                               first_bare + ',' + challenge + ',' + without_proof);
    for (std::size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ signature[i]);
    return without_proof + ",p=" + base64_encode(proof);
}

}  // namespace

TEST_CASE("the vectors of the RFCs", "[scram][rfc5802-5][rfc7677-3]") {
    struct Vector {
        const char* mechanism;
        std::string client_first;
        std::string nonce;
        std::string salt;
        std::string server_first;
        std::string client_final;
        std::string server_final;
    };
    // SHA-512 has no RFC; its vector was computed with Python's hashlib.
    const Vector vectors[] = {
        {"SCRAM-SHA-1", "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92",
         "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
         "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
         "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
        {"SCRAM-SHA-256", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
         "W22ZaJ0SNY7soEsUEjb6gQ==",
         "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
         "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+"
         "Ute9ytag9zjfMHgsqmmiz7AndVQ=",
         "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
        {"SCRAM-SHA-512", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "02431b08-2f0c-4bad-a4e6-6c0742dd3a1e",
         "Yin2FuHTt/M0kJWb0t9OI32n2VmOGi3m+JfjOvuDF88=",
         "r=rOprNGfwEbeRWgbNEkqO02431b08-2f0c-4bad-a4e6-6c0742dd3a1e,s=Yin2FuHTt/"
         "M0kJWb0t9OI32n2VmOGi3m+JfjOvuDF88=,i=4096",
         "c=biws,r=rOprNGfwEbeRWgbNEkqO02431b08-2f0c-4bad-a4e6-6c0742dd3a1e,p=kcM8a5S/"
         "pzQpYltdsOW8pN1euwR93iObDvGkV0ZUY8HajJ4BU"
         "peB27MVL+C1VjT/G8hqRF1NjVr0mSurkVlnng==",
         "v=x22GL3RqKx5tNF+zLideAoDEve7vkfIkxe+oINqmwO+5VmhrYROvJcT5BDhB17NIPhPebWHSFa7GDTurOFBpmA=="},
    };
    for (const auto& v : vectors) {
        INFO(v.mechanism);
        const auto keys =
            derive_credentials("pencil", *scram_hash(v.mechanism), *base64_decode(v.salt), 4096);
        REQUIRE(keys);
        ScramServer server(v.mechanism, {}, false, v.nonce);
        const auto first = server.first(v.client_first);
        REQUIRE(first.has_value());
        CHECK(first->username == "user");
        CHECK(server.challenge(&*keys, secret) == v.server_first);
        const auto final = server.finish(v.client_final);
        REQUIRE(final.has_value());
        CHECK(*final == v.server_final);
        CHECK(check_plain("pencil", *keys));
        CHECK_FALSE(check_plain("pencils", *keys));
        CHECK_FALSE(check_plain("", *keys));
    }
}

TEST_CASE("libgsasl logs in with every mechanism it has", "[scram][gsasl]") {
    for (const auto hash : {ScramHash::sha1, ScramHash::sha256}) {
        const std::string name(scram_name(hash));
        INFO(name);
        Client client;
        auto keys = keys_of(client.password, hash);
        ScramServer plain(name, {}, false);
        CHECK(client.log_in(name.c_str(), plain, &keys) == "ok");

        client.exporter = bound.tls_exporter;
        ScramServer plus(name + "-PLUS", bound, true);
        CHECK(client.log_in((name + "-PLUS").c_str(), plus, &keys) == "ok");

        // Another TLS session: somebody in the middle.
        client.exporter = std::string(32, 'm');
        ScramServer middle(name + "-PLUS", bound, true);
        CHECK(client.log_in((name + "-PLUS").c_str(), middle, &keys) == "server: not-authorized");

        client.exporter.clear();
        client.password = "wrong";
        ScramServer wrong(name, {}, false);
        CHECK(client.log_in(name.c_str(), wrong, &keys) == "server: not-authorized");
        ScramServer unknown(name, {}, false);
        CHECK(client.log_in(name.c_str(), unknown, nullptr) == "server: not-authorized");

        // A server that does not know the password is found out.
        client.password = "wherefore art thou";
        keys.server_key[0] = static_cast<char>(keys.server_key[0] ^ 1);
        ScramServer impostor(name, {}, false);
        CHECK(client.log_in(name.c_str(), impostor, &keys) == "client: server is not authentic");
    }
}

TEST_CASE("names with commas, equals signs and an authzid arrive whole", "[scram][gsasl]") {
    Client client;
    client.user = "a=b,c";
    client.authzid = "x,y=z@example.test";
    const auto keys = keys_of(client.password, ScramHash::sha256);
    ScramServer server("SCRAM-SHA-256", {}, false);
    CHECK(client.log_in("SCRAM-SHA-256", server, &keys) == "ok");
}

TEST_CASE("a client that was told of no -PLUS although there is one is refused", "[scram][rfc5802-6]") {
    const auto keys = keys_of("pw", ScramHash::sha256);
    ScramServer downgraded("SCRAM-SHA-256", bound, true);
    CHECK(downgraded.first("y,,n=u,r=c").error() == SaslFailure::not_authorized);
    // Where nothing can be bound the same client is right.
    ScramServer honest("SCRAM-SHA-256", {}, false);
    REQUIRE(honest.first("y,,n=u,r=c").has_value());
    const auto challenge = honest.challenge(&keys, secret);
    CHECK(honest.finish(final_message(ScramHash::sha256, "pw", "y,,", "n=u,r=c", challenge)).has_value());
    // The flag is signed: one that was changed on the way is noticed.
    ScramServer changed("SCRAM-SHA-256", {}, false);
    REQUIRE(changed.first("n,,n=u,r=c").has_value());
    const auto again = changed.challenge(&keys, secret);
    CHECK_FALSE(changed.finish(final_message(ScramHash::sha256, "pw", "y,,", "n=u,r=c", again)).has_value());
    // libgsasl does not even try when it could bind and -PLUS is missing.
    Client client;
    client.exporter = bound.tls_exporter;
    ScramServer untouched("SCRAM-SHA-256", bound, true);
    CHECK(client.log_in("SCRAM-SHA-256", untouched, &keys) == "client: first");
}

TEST_CASE("gs2 headers that do not fit the mechanism are refused", "[scram][rfc5802-6]") {
    const auto failure = [](const char* mechanism, std::string_view message, bool plus_offered = true) {
        ScramServer server(mechanism, bound, plus_offered);
        const auto first = server.first(message);
        return first ? std::string("taken") : std::string(sasl_condition(first.error()));
    };
    const std::string rest = ",,n=u,r=nonce";
    CHECK(failure("SCRAM-SHA-256", "n" + rest) == "taken");
    CHECK(failure("SCRAM-SHA-256", "y" + rest) == "not-authorized");
    CHECK(failure("SCRAM-SHA-256", "y" + rest, false) == "taken");
    CHECK(failure("SCRAM-SHA-256", "p=tls-exporter" + rest) == "malformed-request");
    CHECK(failure("SCRAM-SHA-256-PLUS", "p=tls-exporter" + rest) == "taken");
    CHECK(failure("SCRAM-SHA-256-PLUS", "p=tls-server-end-point" + rest) == "taken");
    CHECK(failure("SCRAM-SHA-256-PLUS", "p=tls-unique" + rest) == "not-authorized");
    CHECK(failure("SCRAM-SHA-256-PLUS", "n" + rest) == "malformed-request");
    CHECK(failure("SCRAM-SHA-256-PLUS", "y" + rest) == "malformed-request");
    CHECK(failure("SCRAM-MD5", "n" + rest) == "invalid-mechanism");
    for (const auto* bad : {"", "n", "n,", "n,,", "n,,n=u", "n,,n=u,r=", "n,,n=,r=x", "n,,m=ext,n=u,r=x",
                            "n,x,n=u,r=x", "n,a=,n=u,r=x", "n,,n=u=2X,r=x", "n,,n=u=,r=x", "z,,n=u,r=x",
                            "n,,n=u,r=a\x07", "n,,r=x,n=u", "n,a==,n=u,r=x"})
        CHECK(failure("SCRAM-SHA-256", bad) == "malformed-request");
    CHECK(failure("SCRAM-SHA-256", "n,,n=\xff,r=x") == "incorrect-encoding");
    CHECK(failure("SCRAM-SHA-256", "n,,n=u,r=" + std::string(600, 'x')) == "malformed-request");
}

TEST_CASE("tls-server-end-point binds, and every change of the final message is noticed", "[scram]") {
    const auto keys = keys_of("pw", ScramHash::sha512);
    const std::string header = "p=tls-server-end-point,,";
    const std::string good = "c=" + base64_encode(header + bound.tls_server_end_point) + ",r=cs";
    const auto attempt = [&](const std::string& final) {
        ScramServer one("SCRAM-SHA-512-PLUS", bound, true, "s");
        REQUIRE(one.first(header + "n=u,r=c").has_value());
        one.challenge(&keys, secret);
        const auto result = one.finish(final);
        CHECK_FALSE(one.finish(final).has_value());  // one try
        return result ? std::string("ok") : std::string(sasl_condition(result.error()));
    };
    ScramServer server("SCRAM-SHA-512-PLUS", bound, true);
    REQUIRE(server.first(header + "n=u,r=c").has_value());
    const auto challenge = server.challenge(&keys, secret);
    const auto message =
        final_message(ScramHash::sha512, "pw", header + bound.tls_server_end_point, "n=u,r=c", challenge);
    CHECK(server.finish(message).has_value());

    const auto proof = base64_encode(std::string(64, 'p'));
    CHECK(attempt(good + ",p=" + proof) == "not-authorized");
    CHECK(attempt(good + ",p=") == "not-authorized");
    CHECK(attempt(good + ",p=!") == "malformed-request");
    CHECK(attempt(good) == "malformed-request");
    CHECK(attempt("c=biws,r=cs,p=" + proof) == "not-authorized");
    CHECK(attempt("c=" + base64_encode(header + bound.tls_exporter) + ",r=cs,p=" + proof) ==
          "not-authorized");
    CHECK(attempt("r=cs,p=" + proof) == "malformed-request");
    CHECK(attempt("") == "malformed-request");
}

TEST_CASE("an unknown account looks like a known one", "[scram]") {
    const auto challenge = [](std::string_view mechanism, const std::string& user, const std::string& key) {
        ScramServer server(mechanism, {}, false, "s");
        REQUIRE(server.first("n,,n=" + user + ",r=c").has_value());
        return server.challenge(nullptr, key);
    };
    const auto one = challenge("SCRAM-SHA-256", "nobody", secret);
    CHECK(one == challenge("SCRAM-SHA-256", "nobody", secret));
    CHECK(one != challenge("SCRAM-SHA-256", "nobody", "another secret"));
    CHECK(one != challenge("SCRAM-SHA-256", "somebody", secret));
    CHECK(one != challenge("SCRAM-SHA-1", "nobody", secret));
    const auto real = derive_credentials("pw", ScramHash::sha256);
    ScramServer known("SCRAM-SHA-256", {}, false, "s");
    REQUIRE(known.first("n,,n=real,r=c").has_value());
    CHECK(known.challenge(&*real, secret).size() == one.size());
    // Keys of another hash are as good as none.
    ScramServer other("SCRAM-SHA-1", {}, false, "s");
    REQUIRE(other.first("n,,n=nobody,r=c").has_value());
    CHECK(other.challenge(&*real, secret) == challenge("SCRAM-SHA-1", "nobody", secret));
}

TEST_CASE("steps out of order end the exchange", "[scram]") {
    const auto keys = keys_of("pw", ScramHash::sha256);
    ScramServer early("SCRAM-SHA-256", {}, false);
    CHECK(early.finish("c=biws,r=x,p=AAAA").error() == SaslFailure::malformed_request);
    CHECK_FALSE(early.first("n,,n=u,r=c").has_value());
    ScramServer twice("SCRAM-SHA-256", {}, false);
    CHECK(twice.first("n,,n=u,r=c").has_value());
    CHECK_FALSE(twice.first("n,,n=u,r=c").has_value());
    CHECK(twice.challenge(&keys, secret).empty());
}
