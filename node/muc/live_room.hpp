#pragma once

#include <map>
#include <string>
#include <unordered_map>

#include <boost/asio/steady_timer.hpp>

#include "muc/muc_module.hpp"

namespace hexad {

/// A room in memory and what is under way for it.
struct MucModule::Live {
    Live(Jid jid, asio::io_context& io)
        : room(std::move(jid)), settled(io, asio::steady_timer::time_point::max()) {}

    muc::Room room;
    RoomHome home;                                 ///< as last read; of a room without a row, this node
    std::map<std::uint64_t, RoomInput> inbox;      ///< by position
    std::map<std::uint64_t, RoomInput> decided;    ///< inputs whose effects are on their way to being safe
    std::uint64_t position = 0;                    ///< of the last input decided on
    std::uint64_t safe = 0;                        ///< of the last one whose effects are safe
    Origins taken;                                 ///< inputs decided on, by sender
    std::map<std::string, std::string> occupants;  ///< by session, as they are after `safe`
    bool loaded = false;
    bool running = false;
    bool lost = false;    ///< somebody else owns the room: a step was refused, or its partition has moved
    bool stale = false;   ///< lost, and to be read again
    bool moving = false;  ///< it is on its way to another home node: nothing is decided
    std::size_t in_flight = 0;  ///< steps on their way to being safe
    std::size_t reading = 0;    ///< answers under way
    /// Sessions that get a notice from a step in flight. What is appended for one of them must wait, or it
    /// would overtake the notice.
    std::unordered_map<std::string, std::size_t> noticed;
    asio::steady_timer settled;
};

}  // namespace hexad
