// A crowd of clients with XEP-0198 that stays: logs in over several nodes, says so, and when streams break
// resumes them at the other addresses until all are back. One JSON object a phase; a line on the standard
// input begins the second. A process may not have descriptors for all of them: several, each with its own
// --first, make one crowd.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "load_client.hpp"

using namespace hexad;
using namespace hexad::bench;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto retry = milliseconds(200);
constexpr auto quiet = std::chrono::seconds(3);  ///< all are back, and nobody has left for so long

struct Crowd {
    asio::io_context& io;
    std::vector<std::string> addresses;
    std::vector<std::unique_ptr<LoadClient>> clients;
    std::size_t done = 0, failed = 0, broken = 0, resumed = 0, anew = 0, again = 0;
    Clock::time_point first = Clock::time_point::max();
    Clock::time_point last_change = Clock::now();
    std::vector<double> seconds;

    awaitable<void> stays(std::size_t number) {
        auto& client = *clients[number];
        for (bool before = false;; before = true) {
            co_await client.read_on([](const Element&) {});
            ++broken;
            if (before) ++again;
            first = std::min(first, Clock::now());
            // As by DNS: those of a dead node spread over all others.
            const auto others = std::max<std::size_t>(addresses.size() - 1, 1);
            for (std::size_t turn = number / addresses.size();; ++turn) {
                const auto how =
                    co_await client.resume(addresses[(number + 1 + turn % others) % addresses.size()]);
                if (how == LoadClient::Resumed::yes) {
                    ++resumed;
                    break;
                }
                if (how == LoadClient::Resumed::gone) {
                    ++anew;
                    if (co_await client.log_in()) break;
                }
                asio::steady_timer pause(io, retry + milliseconds(number % 50));
                co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
            }
            last_change = Clock::now();
            seconds.push_back(std::chrono::duration<double>(last_change - first).count());
        }
    }

    awaitable<void> logs_in(std::size_t& next) {
        while (next < clients.size()) {
            const auto number = next++;
            const bool good = co_await clients[number]->log_in();
            ++done;
            if (!good && failed++ == 0)
                std::cerr << "client " << number << ": " << clients[number]->error() << '\n';
            if (good) asio::co_spawn(io, stays(number), asio::detached);
        }
    }
};

void allow_descriptors() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"xmpp_crowd: many clients that stay, and come back"};
    LoadOptions options;
    options.stream_management = true;
    std::size_t number = 1000, begin = 0, concurrency = 40;
    int patience = 120;
    asio::io_context io{1};
    Crowd crowd{.io = io, .addresses = {}, .clients = {}, .seconds = {}};
    app.add_option("--address", crowd.addresses, "of the nodes, in turn")->required();
    app.add_option("--port", options.port);
    app.add_option("--domain", options.domain)->required();
    app.add_option("--prefix", options.prefix);
    app.add_option("--password", options.password)->required();
    app.add_option("--clients", number);
    app.add_option("--source", options.source, "local address: one has too few ports for many clients");
    app.add_option("--first", begin, "number of the first client's user");
    app.add_option("--concurrency", concurrency);
    app.add_option("--patience", patience, "seconds until all must be back");
    CLI11_PARSE(app, argc, argv);

    allow_descriptors();
    const auto tls = TlsClientContext::unverified();
    for (std::size_t i = 0; i < number; ++i) {
        options.address = crowd.addresses[i % crowd.addresses.size()];
        crowd.clients.push_back(std::make_unique<LoadClient>(io, options, tls, begin + i));
    }
    const auto start = Clock::now();
    std::size_t next = 0;
    for (std::size_t i = 0; i < concurrency; ++i) asio::co_spawn(io, crowd.logs_in(next), asio::detached);
    while (crowd.done < number) io.run_one();
    const std::chrono::duration<double> took = Clock::now() - start;
    std::cout << R"({"phase": "login", "failed": )" << crowd.failed << R"(, "seconds": )" << took.count()
              << "}" << std::endl;

    std::string line;
    std::getline(std::cin, line);
    const auto begun = Clock::now();
    crowd.last_change = begun;
    const auto over = [&] {
        const auto now = Clock::now();
        if (now - begun > std::chrono::seconds(patience)) return true;
        return crowd.broken > 0 && crowd.seconds.size() == crowd.broken && now - crowd.last_change > quiet;
    };
    while (!over()) io.run_one_for(milliseconds(50));
    std::cout << R"({"phase": "back", "broken": )" << crowd.broken << R"(, "resumed": )" << crowd.resumed
              << R"(, "anew": )" << crowd.anew << R"(, "again": )" << crowd.again << R"(, "first": )"
              << std::chrono::duration<double>(crowd.first.time_since_epoch()).count() << R"(, "back": [)";
    for (const char* comma = ""; const auto seconds : crowd.seconds)
        std::cout << std::exchange(comma, ", ") << seconds;
    std::cout << "]}" << std::endl;
    std::getline(std::cin, line);
    ::_exit(0);  // thousands of orderly ends would only cost time
}
