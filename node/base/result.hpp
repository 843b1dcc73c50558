#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

namespace hexad {

namespace asio = boost::asio;
using boost::asio::awaitable;
using boost::system::error_code;

/// A value, or the error that a peer, a disk or a network caused. What the code cannot have foreseen throws.
template <class T, class E = error_code>
using Result = boost::system::result<T, E>;

}  // namespace hexad
