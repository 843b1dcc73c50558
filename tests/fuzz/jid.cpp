// An address that was parsed prints to a text that parses to the same address.
#include "xmpp/jid.hpp"

#include <cstdint>

#include "require.hpp"

using namespace hexad;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto jid = Jid::parse(text)) {
        const auto again = Jid::parse(jid->to_string());
        REQUIRE_PROPERTY(again.has_value());
        REQUIRE_PROPERTY(*again == *jid);
        REQUIRE_PROPERTY(again->local() == jid->local() && again->domain() == jid->domain());
        REQUIRE_PROPERTY(Jid::make(jid->local(), jid->domain(), jid->resource()) == *jid);
        REQUIRE_PROPERTY(!jid->domain().empty() && jid->domain().size() <= 1023);
        REQUIRE_PROPERTY(jid->local().size() <= 1023 && jid->resource().size() <= 1023);
        REQUIRE_PROPERTY(jid->bare().to_string() == jid->bare_view());
        REQUIRE_PROPERTY(jid->is_full() == !jid->resource().empty());
        if (jid->is_full()) REQUIRE_PROPERTY(jid->bare().with_resource(jid->resource()) == *jid);
    }
    // What XEP-0106 escapes never holds a separator.
    REQUIRE_PROPERTY(escape_local(text).find_first_of(" \"&'/:<>@") == std::string::npos);
    return 0;
}
