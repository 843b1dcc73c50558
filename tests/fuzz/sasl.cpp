// No exchange succeeds without the right proof, and no change of a right message goes unnoticed.
#include <fuzzer/FuzzedDataProvider.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/text.hpp"
#include "require.hpp"
#include "stream/scram.hpp"

using namespace hexad;

namespace {

constexpr std::string_view password = "no fuzzer knows it: 7f0e5c3a";

std::string mac(std::string_view key, std::string_view text) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), out, &size);
    return {reinterpret_cast<char*>(out), size};
}

const ScramKeys& keys(ScramHash hash) {
    static const ScramKeys all[] = {*derive_credentials(password, ScramHash::sha1, "salt", 1),
                                    *derive_credentials(password, ScramHash::sha256, "salt", 1),
                                    *derive_credentials(password, ScramHash::sha512, "salt", 1)};
    return all[static_cast<int>(hash)];
}

void free_exchange(FuzzedDataProvider& input) {
    const auto* mechanism =
        input.PickValueInArray<const char*>({"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512",
                                             "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS"});
    ChannelBindings bindings;
    if (input.ConsumeBool()) bindings = {"exporter", "end-point"};
    ScramServer server(mechanism, bindings, input.ConsumeBool(), "server-nonce");
    const auto first_message = input.ConsumeRandomLengthString(500);
    const auto first = server.first(first_message);
    const bool known = input.ConsumeBool();
    const auto hash = *scram_hash(mechanism);
    const auto challenge = server.challenge(known ? &keys(hash) : nullptr, "secret");
    REQUIRE_PROPERTY(first.has_value() == !challenge.empty());
    std::string final_message;
    if (first && input.ConsumeBool()) {
        // Right in all but the proof.
        const auto header_end = first_message.find(',', first_message.find(',') + 1) + 1;
        auto bound = first_message.substr(0, header_end);
        if (bound.starts_with("p=tls-exporter")) bound += bindings.tls_exporter;
        if (bound.starts_with("p=tls-server-end-point")) bound += bindings.tls_server_end_point;
        final_message = "c=" + base64_encode(bound) + ',' + challenge.substr(0, challenge.find(',')) +
                        ",p=" + base64_encode(input.ConsumeRemainingBytesAsString());
    } else {
        final_message = input.ConsumeRemainingBytesAsString();
    }
    REQUIRE_PROPERTY(!server.finish(final_message).has_value());
}

/// The right final message with an edit: taken only if the edit changed nothing.
void edited_exchange(FuzzedDataProvider& input) {
    ScramServer server("SCRAM-SHA-256", {}, false, "s");
    REQUIRE_PROPERTY(server.first("n,,n=user,r=c").has_value());
    const auto challenge = server.challenge(&keys(ScramHash::sha256), "secret");
    std::string salted(32, '\0');
    PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                      reinterpret_cast<const unsigned char*>("salt"), 4, 1, EVP_sha256(), 32,
                      reinterpret_cast<unsigned char*>(salted.data()));
    auto proof = mac(salted, "Client Key");
    const std::string without_proof = "c=biws,r=cs";
    const auto signature = mac(sha256(proof), "n=user,r=c," + challenge + ',' + without_proof);
    for (std::size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ signature[i]);
    const auto right = without_proof + ",p=" + base64_encode(proof);
    auto edited = right;
    const auto at = input.ConsumeIntegralInRange<std::size_t>(0, edited.size());
    const auto removed = input.ConsumeIntegralInRange<std::size_t>(0, 10);
    edited.replace(at, std::min(removed, edited.size() - at), input.ConsumeRandomLengthString(20));
    REQUIRE_PROPERTY(server.finish(edited).has_value() == (edited == right));
}

void plain(FuzzedDataProvider& input) {
    const auto message = parse_plain(input.ConsumeRemainingBytesAsString());
    if (!message) return;
    REQUIRE_PROPERTY(!message->username.empty() && !message->password.empty());
    const auto account = sasl_account(message->username, message->authzid, "example.test");
    if (account) {
        REQUIRE_PROPERTY(account->is_bare() && account->domain() == "example.test" &&
                         !account->local().empty());
        if (!message->authzid.empty()) REQUIRE_PROPERTY(Jid::parse(message->authzid) == *account);
    }
    REQUIRE_PROPERTY(check_plain(message->password, keys(ScramHash::sha256)) ==
                     (saslprep(message->password) == password));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    switch (input.ConsumeIntegralInRange(0, 2)) {
        case 0:
            free_exchange(input);
            break;
        case 1:
            edited_exchange(input);
            break;
        default:
            plain(input);
            break;
    }
    return 0;
}
