#pragma once

#include <cstdint>
#include <string>

#include <boost/asio/io_context.hpp>

#include "base/clock.hpp"
#include "base/config.hpp"
#include "io/tls_stream.hpp"

namespace hexad {

/// The host at which nodes log in to each other. It never resolves (RFC 6761) and is nobody's.
inline constexpr const char* canary_host = "canary.invalid";

/// What one login found.
struct CanaryLook {
    enum class Found {
        serves,
        fails,   ///< a client would not get in: refused, silent, or ended in the middle
        unclear  ///< it could not be asked as a node: certificates, an older version, no descriptors here
    };
    Found found = Found::unclear;
    std::string why;  ///< unless it serves
    milliseconds took{0};
};

/// Where a node's clients come in, and who asks.
struct CanaryTarget {
    std::string node, address;  ///< of the one that is looked at
    std::uint16_t port = 5222;
    bool direct_tls = false;
    std::string from, from_address;  ///< this node
    TlsFiles tls;
    milliseconds timeout{5000};
};

/// Logs in to another node as a client does (TLS, SASL EXTERNAL, bind) and sends itself a message.
/// docs/redundancy-groups.md, "The canary". Protocol thread.
awaitable<CanaryLook> look_at_service(asio::io_context& io, CanaryTarget target);

/// Judges the looks at one node: several in a row over the time that a critical service may be down. The
/// clock is given.
class CanaryJudge {
public:
    enum class Verdict {
        unknown,  ///< not looked at, or not long enough
        serves,
        not_serving,  ///< it lives, and clients do not get in
        unclear       ///< cannot be judged; never a reason to move anything
    };
    explicit CanaryJudge(milliseconds service_down) : service_down_(service_down) {}

    void add(const CanaryLook& look, SteadyClock::time_point began, SteadyClock::time_point ended);
    /// It is not to be judged now (Redis is away, it starts, it drains); what was seen before is no evidence.
    void pause();

    Verdict verdict() const { return verdict_; }
    /// For how long it has not served; zero unless `not_serving`.
    milliseconds failing(SteadyClock::time_point now) const;
    const CanaryLook& last() const { return last_; }

private:
    milliseconds service_down_;
    Verdict verdict_ = Verdict::unknown;
    CanaryLook last_;
    bool has_served_ = false;
    int failures_ = 0;  ///< in a row
    SteadyClock::time_point failing_since_{};
};

}  // namespace hexad
