#pragma once

#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/text.hpp"

namespace hexad::sql {

/// The message with the time at which the server took it (XEP-0203), unless it has one.
inline std::string with_delay(std::string_view xml, std::string_view from, Timestamp at) {
    const auto close = xml.rfind("</");
    if (close == std::string_view::npos || xml.find("urn:xmpp:delay") != std::string_view::npos)
        return std::string(xml);
    std::string out(xml.substr(0, close));
    out += "<delay xmlns='urn:xmpp:delay' from='";
    out += from;
    out += "' stamp='" + format_time(at) + "'/>";
    out += xml.substr(close);
    return out;
}

}  // namespace hexad::sql
