#pragma once

#include <boost/asio/io_context.hpp>

#include "base/result.hpp"

namespace hexad {

/// The allocator keeps what was freed (after a flood of connections, an import) until it is told to give it
/// back: does so every few seconds when there is much of it. Never returns.
awaitable<void> give_memory_back(asio::io_context& io);

/// Asio keeps its record of each descriptor, for reuse, as long as it lives. Made here they lie side by side;
/// made with a flood of connections, each would hold back a page of what the flood used (measured with 2,000:
/// 9 MiB).
void reserve_descriptors(asio::io_context& io);

}  // namespace hexad
