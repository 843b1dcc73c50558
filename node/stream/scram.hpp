#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stream/sasl.hpp"

namespace hexad {

enum class ScramHash { sha1, sha256, sha512 };

/// `SCRAM-SHA-1`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, without -PLUS.
std::string_view scram_name(ScramHash hash);
/// The hash of a mechanism name, with or without -PLUS; nothing if it is no SCRAM known here.
std::optional<ScramHash> scram_hash(std::string_view mechanism);
inline bool is_plus(std::string_view mechanism) { return mechanism.ends_with("-PLUS"); }

/// What is stored of a password for one hash (RFC 5802 §3). Bytes are raw. The password cannot be computed
/// from it.
struct ScramKeys {
    ScramHash hash = ScramHash::sha256;
    std::string salt;
    int iterations = 0;
    std::string stored_key;
    std::string server_key;
};

inline constexpr int scram_iterations = 10000;
inline constexpr std::size_t scram_salt_size = 16;

/// Derives the keys of a password; PBKDF2, about 2 ms of CPU with 10,000 iterations: not on the protocol
/// thread. Nothing if SASLprep refuses the password.
std::optional<ScramKeys> derive_credentials(std::string_view password, ScramHash hash, std::string_view salt,
                                            int iterations = scram_iterations);
/// The same with a new random salt.
std::optional<ScramKeys> derive_credentials(std::string_view password, ScramHash hash);
/// Whether these keys were derived from this password. As slow as deriving; constant-time comparison.
bool check_plain(std::string_view password, const ScramKeys& keys);

/// Channel binding data of one stream; what is empty is not offered.
struct ChannelBindings {
    std::string tls_exporter;          ///< RFC 9266
    std::string tls_server_end_point;  ///< RFC 5929 §4
    bool any() const { return !tls_exporter.empty() || !tls_server_end_point.empty(); }
};

/// The server side of one SCRAM exchange (RFC 5802, RFC 7677), without I/O:
///
///     ScramServer scram("SCRAM-SHA-256-PLUS", bindings, true);
///     auto who = scram.first(initial_response);          // look up the keys of who->username
///     auto challenge = scram.challenge(keys, secret);    // <challenge/>
///     auto success = scram.finish(response);             // additional data of <success/>
///
/// An unknown account runs the same course with a salt made up from `secret`, and fails at the end like a
/// wrong password.
class ScramServer {
public:
    struct First {
        std::string username;  ///< after SASLprep
        std::string authzid;   ///< as sent, may be empty; see sasl_account()
    };

    /// `plus_offered`: whether this stream's features listed any -PLUS mechanism; a client that says it found
    /// none (flag `y`) was then lied to by somebody, and is refused. `nonce` is for tests.
    ScramServer(std::string_view mechanism, ChannelBindings bindings, bool plus_offered,
                std::string nonce = {});

    /// Client-first-message (decoded base64). Failures: malformed_request, incorrect_encoding, not_authorized
    /// (binding refused), invalid_mechanism (the name given to the constructor).
    Result<First, SaslFailure> first(std::string_view message);
    /// Server-first-message. `keys` of the hash of this mechanism, or nullptr for an unknown account;
    /// `secret` is the same on all nodes and never shown.
    std::string challenge(const ScramKeys* keys, std::string_view secret);
    /// Checks the client-final-message; the server-final-message, which proves that the server knows the
    /// keys. Failures: malformed_request, not_authorized.
    Result<std::string, SaslFailure> finish(std::string_view message);

private:
    enum class Step { first, challenge, finish, over };
    Result<First, SaslFailure> parse_first(std::string_view message);

    std::optional<ScramHash> hash_;
    bool plus_;
    ChannelBindings bindings_;
    bool plus_offered_;
    std::string nonce_;
    Step step_ = Step::first;
    std::string username_;
    std::string client_first_bare_;
    std::string server_first_;
    std::string expected_binding_;  // gs2 header and channel binding data
    ScramKeys keys_;
    bool known_ = false;
};

}  // namespace hexad
