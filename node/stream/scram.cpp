#include "stream/scram.hpp"

#include <algorithm>
#include <stdexcept>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/ids.hpp"
#include "base/text.hpp"

namespace hexad {
namespace {

constexpr std::size_t max_message = 4096;

const EVP_MD* digest(ScramHash hash) {
    switch (hash) {
        case ScramHash::sha1:
            return EVP_sha1();
        case ScramHash::sha256:
            return EVP_sha256();
        case ScramHash::sha512:
            return EVP_sha512();
    }
    return EVP_sha256();
}

const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

std::string hmac(ScramHash hash, std::string_view key, std::string_view text) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    // An empty key is a null pointer to some string_views, which HMAC takes for "the key of last time".
    const auto* key_bytes = key.empty() ? reinterpret_cast<const unsigned char*>("") : bytes_of(key);
    if (HMAC(digest(hash), key_bytes, static_cast<int>(key.size()), bytes_of(text), text.size(), out,
             &size) == nullptr)
        throw std::runtime_error("HMAC failed");
    return {reinterpret_cast<char*>(out), size};
}

std::string hash_of(ScramHash hash, std::string_view text) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_Digest(text.data(), text.size(), out, &size, digest(hash), nullptr) != 1)
        throw std::runtime_error("digest failed");
    return {reinterpret_cast<char*>(out), size};
}

bool equal(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

/// Takes the next comma-separated attribute `letter=value` off the front.
std::optional<std::string_view> take(std::string_view& rest, char letter) {
    if (rest.size() < 2 || rest[0] != letter || rest[1] != '=') return std::nullopt;
    const auto end = std::min(rest.find(','), rest.size());
    const auto value = rest.substr(2, end - 2);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return value;
}

/// saslname of RFC 5802 §5.1: `=2C` is a comma, `=3D` an equals sign, anything else with `=` is an error.
std::optional<std::string> decode_name(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '=') {
            out += text[i];
            continue;
        }
        const auto code = text.substr(i + 1, 2);
        if (code == "2C") {
            out += ',';
        } else if (code == "3D") {
            out += '=';
        } else {
            return std::nullopt;
        }
        i += 2;
    }
    return out;
}

bool is_nonce(std::string_view text) {
    return !text.empty() && text.size() <= 512 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f && c != ','; });
}

std::string salted_password(const std::string& prepared, ScramHash hash, std::string_view salt,
                            int iterations) {
    std::string out(static_cast<std::size_t>(EVP_MD_get_size(digest(hash))), '\0');
    if (PKCS5_PBKDF2_HMAC(prepared.data(), static_cast<int>(prepared.size()), bytes_of(salt),
                          static_cast<int>(salt.size()), iterations, digest(hash),
                          static_cast<int>(out.size()), reinterpret_cast<unsigned char*>(out.data())) != 1)
        throw std::runtime_error("PBKDF2 failed");
    return out;
}

}  // namespace

std::string_view scram_name(ScramHash hash) {
    switch (hash) {
        case ScramHash::sha1:
            return "SCRAM-SHA-1";
        case ScramHash::sha256:
            return "SCRAM-SHA-256";
        case ScramHash::sha512:
            return "SCRAM-SHA-512";
    }
    return {};
}

std::optional<ScramHash> scram_hash(std::string_view mechanism) {
    if (is_plus(mechanism)) mechanism.remove_suffix(5);
    for (const auto hash : {ScramHash::sha1, ScramHash::sha256, ScramHash::sha512})
        if (scram_name(hash) == mechanism) return hash;
    return std::nullopt;
}

std::optional<ScramKeys> derive_credentials(std::string_view password, ScramHash hash, std::string_view salt,
                                            int iterations) {
    auto prepared = saslprep(password);
    if (!prepared || salt.empty() || iterations < 1) return std::nullopt;
    auto salted = salted_password(*prepared, hash, salt, iterations);
    ScramKeys keys{hash, std::string(salt), iterations, hash_of(hash, hmac(hash, salted, "Client Key")),
                   hmac(hash, salted, "Server Key")};
    OPENSSL_cleanse(salted.data(), salted.size());
    OPENSSL_cleanse(prepared->data(), prepared->size());
    return keys;
}

std::optional<ScramKeys> derive_credentials(std::string_view password, ScramHash hash) {
    std::string salt(scram_salt_size, '\0');
    if (RAND_bytes(reinterpret_cast<unsigned char*>(salt.data()), static_cast<int>(salt.size())) != 1)
        throw std::runtime_error("no random bytes");
    return derive_credentials(password, hash, salt);
}

bool check_plain(std::string_view password, const ScramKeys& keys) {
    const auto derived = derive_credentials(password, keys.hash, keys.salt, keys.iterations);
    return derived && equal(derived->stored_key, keys.stored_key);
}

ScramServer::ScramServer(std::string_view mechanism, ChannelBindings bindings, bool plus_offered,
                         std::string nonce)
    : hash_(scram_hash(mechanism)),
      plus_(is_plus(mechanism)),
      bindings_(std::move(bindings)),
      plus_offered_(plus_offered),
      nonce_(nonce.empty() ? random_id(20) : std::move(nonce)) {}

Result<ScramServer::First, SaslFailure> ScramServer::first(std::string_view message) {
    if (!hash_) return SaslFailure::invalid_mechanism;
    if (step_ != Step::first || message.size() > max_message) {
        step_ = Step::over;
        return SaslFailure::malformed_request;
    }
    auto parsed = parse_first(message);
    step_ = parsed ? Step::challenge : Step::over;
    return parsed;
}

Result<ScramServer::First, SaslFailure> ScramServer::parse_first(std::string_view message) {
    if (!is_utf8(message)) return SaslFailure::incorrect_encoding;
    // gs2-header: binding flag, authzid
    const auto flag_end = message.find(',');
    if (flag_end == std::string_view::npos) return SaslFailure::malformed_request;
    const auto flag = message.substr(0, flag_end);
    const auto header_end = message.find(',', flag_end + 1);
    if (header_end == std::string_view::npos) return SaslFailure::malformed_request;
    const auto authzid_part = message.substr(flag_end + 1, header_end - flag_end - 1);
    expected_binding_ = message.substr(0, header_end + 1);
    if (flag.starts_with("p=")) {
        if (!plus_) return SaslFailure::malformed_request;
        const auto type = flag.substr(2);
        const auto* data = type == "tls-exporter"           ? &bindings_.tls_exporter
                           : type == "tls-server-end-point" ? &bindings_.tls_server_end_point
                                                            : nullptr;
        if (data == nullptr || data->empty()) return SaslFailure::not_authorized;
        expected_binding_ += *data;
    } else if (flag == "y") {
        // The client could bind and believes that this server cannot: somebody took -PLUS out of the
        // features.
        if (plus_) return SaslFailure::malformed_request;
        if (plus_offered_) return SaslFailure::not_authorized;
    } else if (flag != "n" || plus_) {
        return SaslFailure::malformed_request;
    }
    First result;
    if (!authzid_part.empty()) {
        if (!authzid_part.starts_with("a=")) return SaslFailure::malformed_request;
        auto authzid = decode_name(authzid_part.substr(2));
        if (!authzid || authzid->empty()) return SaslFailure::malformed_request;
        result.authzid = std::move(*authzid);
    }
    // client-first-message-bare; `m=` announces an extension that must be understood, and none is.
    auto rest = message.substr(header_end + 1);
    client_first_bare_ = rest;
    const auto name_text = take(rest, 'n');
    const auto nonce = take(rest, 'r');
    if (!name_text || !nonce || !is_nonce(*nonce)) return SaslFailure::malformed_request;
    const auto name = decode_name(*name_text);
    auto prepared = name ? saslprep(*name) : std::nullopt;
    if (!prepared) return SaslFailure::malformed_request;
    username_ = result.username = std::move(*prepared);
    nonce_ = std::string(*nonce) + nonce_;
    return result;
}

std::string ScramServer::challenge(const ScramKeys* keys, std::string_view secret) {
    if (step_ != Step::challenge) {
        step_ = Step::over;
        return {};
    }
    step_ = Step::finish;
    known_ = keys != nullptr && keys->hash == *hash_ && keys->iterations > 0;
    if (known_) {
        keys_ = *keys;
    } else {
        // The same salt each time, as a real account would have; keys that no password has.
        const auto made_up = [&](ScramHash with, std::string_view what) {
            return hmac(with, secret,
                        std::string(what).append(1, ' ').append(scram_name(*hash_)) + ' ' + username_);
        };
        keys_ = {*hash_, made_up(ScramHash::sha256, "salt").substr(0, scram_salt_size), scram_iterations,
                 made_up(*hash_, "stored-key"), made_up(*hash_, "server-key")};
    }
    server_first_ =
        "r=" + nonce_ + ",s=" + base64_encode(keys_.salt) + ",i=" + std::to_string(keys_.iterations);
    return server_first_;
}

Result<std::string, SaslFailure> ScramServer::finish(std::string_view message) {
    const bool in_order = step_ == Step::finish;
    step_ = Step::over;
    if (!in_order || message.size() > max_message) return SaslFailure::malformed_request;
    auto rest = message;
    const auto binding = take(rest, 'c');
    const auto nonce = take(rest, 'r');
    if (!binding || !nonce) return SaslFailure::malformed_request;
    // The proof stands last; what comes before it are optional extensions, which are part of what is signed.
    const auto proof_at = message.rfind(",p=");
    if (proof_at == std::string_view::npos) return SaslFailure::malformed_request;
    const auto without_proof = message.substr(0, proof_at);
    const auto proof = base64_decode(message.substr(proof_at + 3));
    const auto bound = base64_decode(*binding);
    if (!proof || !bound) return SaslFailure::malformed_request;
    if (!equal(*bound, expected_binding_) || *nonce != nonce_) return SaslFailure::not_authorized;

    const auto auth_message = client_first_bare_ + ',' + server_first_ + ',' + std::string(without_proof);
    auto client_key = hmac(*hash_, keys_.stored_key, auth_message);
    if (proof->size() != client_key.size()) return SaslFailure::not_authorized;
    for (std::size_t i = 0; i < client_key.size(); ++i)
        client_key[i] = static_cast<char>(client_key[i] ^ (*proof)[i]);
    if (!equal(hash_of(*hash_, client_key), keys_.stored_key) || !known_) return SaslFailure::not_authorized;
    return "v=" + base64_encode(hmac(*hash_, keys_.server_key, auth_message));
}

}  // namespace hexad
