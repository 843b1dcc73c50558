#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

/// What the server says next in a SASL exchange (RFC 6120 §6).
struct SaslReply {
    enum class Kind { challenge, success, failure };
    Kind kind = Kind::failure;
    std::string data;       ///< raw bytes of the challenge, or of the additional data with success
    std::string condition;  ///< failure: condition of RFC 6120 §6.5
    std::string text;
    bool guessed =
        true;     ///< failure: a password was compared; not so if the client only asked in a wrong way
    Jid account;  ///< success: the bare JID
};

/// Channel binding data of the connection; empty where undefined.
struct ChannelBinding {
    std::string tls_exporter;
    std::string tls_server_end_point;
    friend bool operator==(const ChannelBinding&, const ChannelBinding&) = default;
};

/// One exchange of one connection. Protocol thread.
class SaslSession {
public:
    virtual ~SaslSession() = default;
    /// Takes the client's next message (decoded); the first one is the initial response.
    virtual awaitable<SaslReply> step(std::string data) = 0;
};

/// Where a host's credentials come from, and which mechanisms follow (DESIGN: local | directory | mixed).
class Authenticator {
public:
    virtual ~Authenticator() = default;
    /// Mechanisms offered, strongest first. `binding`: what the connection can bind to.
    virtual std::vector<std::string> mechanisms(const std::string& host,
                                                const ChannelBinding& binding) const = 0;
    /// nullptr: the mechanism is not offered there (`invalid-mechanism`). `peer`: address, for throttling.
    virtual std::unique_ptr<SaslSession> begin(const std::string& host, const std::string& mechanism,
                                               const ChannelBinding& binding, const std::string& peer) = 0;
};

}  // namespace hexad
