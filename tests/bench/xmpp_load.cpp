// Load generator: logs many clients in, lets them idle, or chat in pairs; prints one JSON object a phase.
// Speaks plain XMPP, so that the same run measures other servers too.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "load_client.hpp"
#include "xmpp/namespaces.hpp"

using namespace hexad;
using namespace hexad::bench;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A phase is over: the runner reads CPU and memory of the servers, then answers with a line.
void report(const std::string& json) {
    std::cout << json << std::endl;
    std::string line;
    std::getline(std::cin, line);
}

struct Chat {
    std::size_t pairs = 0, per_pair = 0, in_flight = 1;
    std::size_t sent = 0, received = 0;
    std::vector<double> latencies;  // milliseconds
    Clock::time_point start = Clock::time_point::max();
};

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"xmpp_load: load generator of tests/bench"};
    LoadOptions options;
    std::size_t clients = 100, concurrency = 50, messages = 0, in_flight = 1;
    double idle = 0;
    std::vector<std::string> addresses;
    app.add_option("--address", addresses, "one or several: clients are spread over them in turn")
        ->required();
    app.add_option("--port", options.port);
    app.add_option("--domain", options.domain)->required();
    app.add_option("--prefix", options.prefix);
    app.add_option("--password", options.password)->required();
    app.add_option("--source", options.source);
    app.add_option("--clients", clients);
    app.add_option("--concurrency", concurrency);
    app.add_option("--messages", messages, "chat messages per pair");
    app.add_option("--in-flight", in_flight, "per pair");
    app.add_option("--idle", idle, "seconds to idle after the logins");
    app.add_flag("--sm", options.stream_management);
    CLI11_PARSE(app, argc, argv);

    asio::io_context io{1};
    const auto tls = TlsClientContext::unverified();
    std::vector<std::unique_ptr<LoadClient>> all;
    for (std::size_t i = 0; i < clients; ++i) {
        options.address = addresses[i % addresses.size()];
        all.push_back(std::make_unique<LoadClient>(io, options, tls, i));
    }

    Chat chat;
    std::vector<std::function<void(const Element&)>> on_message(clients);
    std::size_t next = 0, done = 0, failed = 0;
    const auto start = Clock::now();
    std::function<awaitable<void>()> worker = [&]() -> awaitable<void> {
        while (next < clients) {
            const auto at = next++;
            auto& client = *all[at];
            const bool good = co_await client.log_in();
            ++done;
            if (!good) {
                if (failed++ == 0) std::cerr << "client " << at << ": " << client.error() << '\n';
                continue;
            }
            auto reader = [](LoadClient& c, std::function<void(const Element&)>& handler) -> awaitable<void> {
                co_await c.read_on([&handler](const Element& e) {
                    if (handler) handler(e);
                });
            };
            asio::co_spawn(io, reader(client, on_message[at]), asio::detached);
        }
    };
    report("{\"phase\": \"start\"}");
    for (std::size_t i = 0; i < std::min(concurrency, clients); ++i)
        asio::co_spawn(io, worker(), asio::detached);
    while (done < clients) io.run_one();
    const auto login_time = seconds_since(start);
    report("{\"phase\": \"login\", \"clients\": " + std::to_string(clients) +
           ", \"failed\": " + std::to_string(failed) + ", \"seconds\": " + std::to_string(login_time) + "}");
    if (failed > 0) return 1;
    if (idle > 0) {
        io.run_for(std::chrono::milliseconds(static_cast<int>(idle * 1000)));
        report("{\"phase\": \"idle\", \"clients\": " + std::to_string(clients) + "}");
    }
    if (messages > 0) {
        chat.pairs = clients / 2;
        chat.per_pair = messages;
        const auto total = chat.pairs * messages;
        std::vector<std::size_t> sent(chat.pairs);
        const auto send = [&](std::size_t pair) {
            if (sent[pair] >= messages) return;
            const auto number = sent[pair]++;
            const auto now =
                std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
            // The two of a pair take turns, as people do.
            const bool turn = number % 2 == 0;
            auto& from = *all[2 * pair + (turn ? 0 : 1)];
            const auto& to = all[2 * pair + (turn ? 1 : 0)]->jid();
            from.send("<message type='chat' id='m" + std::to_string(number) + "' to='" +
                      to.substr(0, to.find('/')) + "'><body>" + std::to_string(now) +
                      " the quick brown fox jumps over the lazy dog and some more of that kind, so that it "
                      "has the size of what people write</body></message>" +
                      (options.stream_management && number % 8 == 7 ? "<r xmlns='urn:xmpp:sm:3'/>" : ""));
            ++chat.sent;
        };
        for (std::size_t i = 0; i < clients; ++i) {
            on_message[i] = [&, i](const Element& message) {
                const auto body = message.child_text("body", ns::client);
                if (body.empty()) return;
                const auto now =
                    std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
                        .count();
                // What came before the start is not of this run.
                const auto sent_at = std::chrono::nanoseconds(std::atoll(body.c_str()));
                if (chat.start == Clock::time_point::max() || sent_at < chat.start.time_since_epoch()) return;
                chat.latencies.push_back(static_cast<double>(now - std::atoll(body.c_str())) / 1e6);
                ++chat.received;
                send(i / 2);
            };
        }
        io.run_for(std::chrono::milliseconds(500));
        report("{\"phase\": \"ready\"}");
        chat.start = Clock::now();
        for (std::size_t pair = 0; pair < chat.pairs; ++pair) {
            for (std::size_t k = 0; k < in_flight; ++k) send(pair);
        }
        while (chat.received < total && seconds_since(chat.start) < 120)
            io.run_one_for(std::chrono::milliseconds(100));
        const auto took = seconds_since(chat.start);
        std::sort(chat.latencies.begin(), chat.latencies.end());
        const auto at = [&](double share) {
            return chat.latencies.empty() ? 0.0
                                          : chat.latencies[static_cast<std::size_t>(
                                                share * static_cast<double>(chat.latencies.size() - 1))];
        };
        report("{\"phase\": \"chat\", \"sent\": " + std::to_string(chat.sent) + ", \"received\": " +
               std::to_string(chat.received) + ", \"lost\": " + std::to_string(total - chat.received) +
               ", \"seconds\": " + std::to_string(took) + ", \"p50_ms\": " + std::to_string(at(0.5)) +
               ", \"p99_ms\": " + std::to_string(at(0.99)) + "}");
    }
    std::cout.flush();
    // Thousands of orderly ends would only cost time.
    ::_exit(0);
}
