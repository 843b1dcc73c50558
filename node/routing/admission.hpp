#pragma once

#include <array>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/config.hpp"
#include "base/metrics.hpp"
#include "base/result.hpp"
#include "routing/admission_line.hpp"

namespace hexad {

/// What a stream asks for that costs the node something. Until it has authenticated, which begins with TLS,
/// nobody knows whether a client will resume or log in, so that step has a pace of its own: the sum of both.
enum class Entry { authentication, login, resumption };

/// Lets clients in at a bounded pace after a node was lost without a word (docs/redundancy-groups.md, "After
/// a loss"). At all other times everybody goes straight on. Protocol thread.
class Admission {
public:
    enum class Answer { enter, refuse, gone };

    Admission(asio::io_context& io, AdmissionConfig config);
    ~Admission();

    /// Waits until the stream may go on, or has waited `config.wait` in all (`waited_before` of it earlier).
    /// `gone`: whether its client has gone away.
    awaitable<Answer> ask(Entry entry, milliseconds waited_before, std::function<bool()> gone);

    /// Held by a stream from the moment it is let in to TLS until it has authenticated. So many are under way
    /// at a time: if all came in together, none would be done before its client gives up. A client that takes
    /// its time keeps nobody out for long.
    using Passage = std::shared_ptr<void>;
    Passage passage();

    /// Another node's clients are coming: for so long, and as long as streams wait, the pace holds.
    void holds_for(milliseconds time);
    bool in_force() const;

    struct Counts {
        std::uint64_t entered = 0, refused = 0, gone = 0;
    };
    const Counts& counts(Entry entry) const;
    std::size_t waiting() const;
    std::uint64_t refused() const;
    /// Clients that came in (resumed or logged in) a second, over the last ten.
    double entering() const;
    /// Streams wait, and others come in: who finds no way in at once stands in a line that moves.
    bool moves() const { return waiting() > 0 && entering() > 0; }
    const AdmissionConfig& config() const { return config_; }

private:
    struct Waiting;
    struct Line;
    struct UnderWay;
    std::size_t places(SteadyClock::time_point now);
    Line& line(Entry entry) const { return *lines_[static_cast<std::size_t>(entry)]; }
    void look();
    void look_later();
    void entered(Entry entry);

    asio::io_context& io_;
    AdmissionConfig config_;
    std::array<std::shared_ptr<Line>, 3> lines_;  ///< who waits may outlive this when the node ends
    std::shared_ptr<UnderWay> under_way_;
    asio::steady_timer timer_;
    SteadyClock::time_point look_at_ = SteadyClock::time_point::max();
    SteadyClock::time_point until_{};
    /// Clients that came in, by second, for the last eleven seconds.
    struct Second {
        std::int64_t second = 0;
        std::uint64_t count = 0;
    };
    std::array<Second, 11> lately_{};
};

}  // namespace hexad
