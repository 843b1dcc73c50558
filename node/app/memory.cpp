#include "app/memory.hpp"

#include <algorithm>
#include <malloc.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.hpp"

namespace hexad {

awaitable<void> give_memory_back(asio::io_context& io) {
    asio::steady_timer timer(io);
    for (std::size_t known = 0;;) {  // free bytes that are given back already, or not worth it
        timer.expires_after(seconds(5));
        co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
        const auto info = ::mallinfo2();
        known = std::min(known, info.fordblks);
        if (info.fordblks < known + std::max<std::size_t>(info.arena / 8, 4U << 20U)) continue;
        ::malloc_trim(0);
        known = ::mallinfo2().fordblks;
    }
}

void reserve_descriptors(asio::io_context& io) {
    std::vector<asio::posix::stream_descriptor> all;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    for (auto n = std::min<rlim_t>(limit.rlim_cur / 2, 10'000); n > 0; --n) {
        const int fd = ::eventfd(0, EFD_CLOEXEC);
        if (fd < 0) return;
        all.emplace_back(io, fd);
    }
}

}  // namespace hexad
