#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "storage/account.hpp"

namespace hexad {

/// Follows the table `account_event`: what the directory agent (or another tool) did to accounts. Reads on a
/// thread of its own, every second, from ten minutes before its start; tells on the protocol thread.
class AccountEvents {
public:
    using Told = std::function<void(Jid account, AccountState state)>;
    AccountEvents(asio::io_context& io, std::string store_url, Told told);
    ~AccountEvents();
    AccountEvents(const AccountEvents&) = delete;

private:
    struct Reader;
    std::unique_ptr<Reader> reader_;
};

}  // namespace hexad
