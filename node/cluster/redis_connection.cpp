#include "cluster/redis_connection.hpp"

#include <charconv>

#include <boost/asio/connect.hpp>
#include <hiredis/hiredis.h>

#include "base/log.hpp"
#include "base/text.hpp"

namespace hexad {

namespace {

RedisReply convert(const redisReply* reply) {
    RedisReply out;
    switch (reply->type) {
        case REDIS_REPLY_STRING:
            out.kind = RedisReply::Kind::text;
            break;
        case REDIS_REPLY_STATUS:
            out.kind = RedisReply::Kind::status;
            break;
        case REDIS_REPLY_ERROR:
            out.kind = RedisReply::Kind::error;
            break;
        case REDIS_REPLY_INTEGER:
            out.kind = RedisReply::Kind::integer;
            out.integer = reply->integer;
            return out;
        case REDIS_REPLY_ARRAY:
            out.kind = RedisReply::Kind::array;
            out.items.reserve(reply->elements);
            for (std::size_t i = 0; i < reply->elements; ++i) out.items.push_back(convert(reply->element[i]));
            return out;
        default:
            return out;
    }
    out.text.assign(reply->str, static_cast<std::size_t>(reply->len));
    return out;
}

struct Address {
    std::string host, port, path;
    bool tls = false;
};

Address parse_address(std::string_view url) {
    Address out;
    if (url.starts_with("unix:")) {
        out.path = std::string(url.substr(5));
        return out;
    }
    if (url.starts_with("rediss://")) {
        out.tls = true;
        url.remove_prefix(9);
    } else if (url.starts_with("redis://")) {
        url.remove_prefix(8);
    }
    if (const auto slash = url.find('/'); slash != std::string_view::npos) url = url.substr(0, slash);
    const auto colon = url.rfind(':');
    out.host = std::string(url.substr(0, colon));
    out.port = colon == std::string_view::npos ? "6379" : std::string(url.substr(colon + 1));
    return out;
}

std::string info_field(const std::string& info, std::string_view name) {
    const auto at = info.find(std::string(name) + ':');
    if (at == std::string::npos) return {};
    const auto start = at + name.size() + 1;
    return info.substr(start, info.find_first_of("\r\n", start) - start);
}

}  // namespace

struct RedisConnection::Core : std::enable_shared_from_this<Core> {
    Core(asio::io_context& context, RedisOptions o)
        : io(context), options(std::move(o)), retry(context), watchdog(context) {}

    asio::io_context& io;
    RedisOptions options;
    std::unique_ptr<TlsStream> stream;
    std::unique_ptr<TlsClientContext> tls;
    std::deque<std::pair<Done, SteadyClock::time_point>> waiting;
    asio::steady_timer retry, watchdog;
    std::string run_id;
    std::function<void(bool)>* on_state = nullptr;
    bool up = false;
    bool stopped = false;

    awaitable<void> run();
    awaitable<error_code> connect();
    awaitable<bool> check();
    awaitable<void> read();
    awaitable<void> watch();
    void send(const std::vector<std::string_view>& words, Done done);
    awaitable<Result<RedisReply>> ask(std::vector<std::string> words);
    void drop();
};

RedisConnection::RedisConnection(asio::io_context& io, RedisOptions options)
    : core_(std::make_shared<Core>(io, std::move(options))) {}

RedisConnection::~RedisConnection() { stop(); }

void RedisConnection::start() {
    core_->on_state = &on_state;
    asio::co_spawn(core_->io, core_->run(), [core = core_](std::exception_ptr) {});
}

void RedisConnection::stop() {
    core_->stopped = true;
    core_->on_state = nullptr;
    core_->drop();
    core_->retry.cancel();
    core_->watchdog.cancel();
}

bool RedisConnection::connected() const { return core_->up; }
const std::string& RedisConnection::run_id() const { return core_->run_id; }

void RedisConnection::command(const std::vector<std::string_view>& words, Done done) {
    if (!core_->up) {
        asio::post(core_->io, [done = std::move(done)] {
            done(asio::error::make_error_code(asio::error::not_connected));
        });
        return;
    }
    core_->send(words, std::move(done));
}

awaitable<Result<RedisReply>> RedisConnection::ask(std::vector<std::string> words) {
    if (!core_->up) co_return asio::error::make_error_code(asio::error::not_connected);
    co_return co_await core_->ask(std::move(words));
}

awaitable<bool> RedisConnection::wait_connected(milliseconds time) {
    const auto deadline = SteadyClock::now() + time;
    while (!core_->up && SteadyClock::now() < deadline) {
        asio::steady_timer pause(core_->io, milliseconds(20));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return core_->up;
}

awaitable<Result<RedisReply>> RedisConnection::Core::ask(std::vector<std::string> words) {
    struct Waiting {
        explicit Waiting(asio::io_context& context) : timer(context, asio::steady_timer::time_point::max()) {}
        asio::steady_timer timer;
        std::optional<Result<RedisReply>> reply;
    };
    auto state = std::make_shared<Waiting>(io);
    std::vector<std::string_view> views(words.begin(), words.end());
    send(views, [state](Result<RedisReply> reply) {
        state->reply = std::move(reply);
        state->timer.cancel();
    });
    while (!state->reply) co_await state->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return std::move(*state->reply);
}

void RedisConnection::Core::send(const std::vector<std::string_view>& words, Done done) {
    if (!stream) {
        asio::post(
            io, [done = std::move(done)] { done(asio::error::make_error_code(asio::error::not_connected)); });
        return;
    }
    std::vector<const char*> argv;
    std::vector<std::size_t> lengths;
    argv.reserve(words.size());
    lengths.reserve(words.size());
    for (const auto& word : words) {
        argv.push_back(word.data());
        lengths.push_back(word.size());
    }
    char* text = nullptr;
    const auto size =
        redisFormatCommandArgv(&text, static_cast<int>(words.size()), argv.data(), lengths.data());
    waiting.emplace_back(std::move(done), SteadyClock::now());
    stream->send(std::string_view(text, static_cast<std::size_t>(size)));
    redisFreeCommand(text);
}

void RedisConnection::Core::drop() {
    const bool was_up = up;
    up = false;
    // A command that arrives when the network is mended would come behind those of the next connection.
    if (stream) stream->discard();
    stream.reset();
    auto lost = std::move(waiting);
    waiting.clear();
    for (auto& [done, at] : lost) done(asio::error::make_error_code(asio::error::connection_reset));
    if (was_up && on_state != nullptr && *on_state) (*on_state)(false);
}

awaitable<error_code> RedisConnection::Core::connect() {
    const auto address = parse_address(options.url);
    if (!address.path.empty()) {
        asio::local::stream_protocol::socket socket(io);
        const auto [error] = co_await socket.async_connect(
            asio::local::stream_protocol::endpoint(address.path), asio::as_tuple(asio::use_awaitable));
        if (error) co_return error;
        stream = std::make_unique<TlsStream>(StreamSocket(std::move(socket)));
        co_return error_code{};
    }
    asio::ip::tcp::resolver resolver(io);
    const auto [resolve_error, found] =
        co_await resolver.async_resolve(address.host, address.port, asio::as_tuple(asio::use_awaitable));
    if (resolve_error) co_return resolve_error;
    error_code last = asio::error::host_not_found;
    for (const auto& entry : found) {
        asio::ip::tcp::socket socket(io, entry.endpoint().protocol());
        if (!options.source_address.empty()) {
            error_code ignored;
            socket.set_option(asio::socket_base::reuse_address(true), ignored);
            socket.bind({asio::ip::make_address(options.source_address), 0}, last);
            if (last) continue;
        }
        asio::steady_timer limit(io, milliseconds(2000));
        limit.async_wait([&socket](error_code e) {
            if (!e) socket.close(e);
        });
        const auto [error] =
            co_await socket.async_connect(entry.endpoint(), asio::as_tuple(asio::use_awaitable));
        limit.cancel();
        last = error;
        if (error || !socket.is_open()) continue;
        stream = std::make_unique<TlsStream>(StreamSocket(std::move(socket)));
        if (address.tls) {
            if (!tls) tls = std::make_unique<TlsClientContext>(options.ca_file);
            co_return co_await stream->client_handshake(*tls, address.host);
        }
        co_return error_code{};
    }
    co_return last;
}

awaitable<bool> RedisConnection::Core::check() {
    if (!options.password.empty()) {
        std::vector<std::string> words{"AUTH", options.password};
        const auto reply = co_await ask(std::move(words));
        if (!reply || reply->is_error()) {
            log_error("redis_refused", {{"error", reply ? reply->text : reply.error().message()}});
            co_return false;
        }
    }
    std::vector<std::string> words{"INFO"};
    const auto info = co_await ask(std::move(words));
    if (!info || info->is_error()) co_return false;
    const auto version = info_field(info->text, "redis_version");
    const auto policy = info_field(info->text, "maxmemory_policy");
    int major = 0;
    std::from_chars(version.data(), version.data() + version.size(), major);
    if (major < 7) {
        log_error("redis_refused", {{"error", "Redis 7 or later is needed"}, {"version", version}});
        co_return false;
    }
    if (policy != "noeviction") {
        log_error("redis_refused", {{"error", "maxmemory-policy must be noeviction"}, {"policy", policy}});
        co_return false;
    }
    if (info_field(info->text, "loading") == "1") co_return false;
    if (info_field(info->text, "aof_enabled") != "1") log_warn("redis_without_aof");
    run_id = info_field(info->text, "run_id");
    co_return true;
}

awaitable<void> RedisConnection::Core::read() {
    redisReader* reader = redisReaderCreate();
    const std::unique_ptr<redisReader, void (*)(redisReader*)> owner(reader, redisReaderFree);
    while (!stopped && stream) {
        auto* const current = stream.get();
        const auto bytes = co_await current->read();
        if (!bytes || stream.get() != current) break;
        if (redisReaderFeed(reader, bytes->data(), bytes->size()) != REDIS_OK) break;
        void* raw = nullptr;
        bool broken = false;
        for (;;) {
            if (redisReaderGetReply(reader, &raw) != REDIS_OK) {
                broken = true;
                break;
            }
            if (raw == nullptr) break;
            auto reply = convert(static_cast<redisReply*>(raw));
            freeReplyObject(raw);
            if (waiting.empty()) {
                broken = true;
                break;
            }
            auto done = std::move(waiting.front().first);
            waiting.pop_front();
            done(std::move(reply));
            if (stream.get() != current) co_return;
        }
        if (broken) break;
    }
    drop();
}

awaitable<void> RedisConnection::Core::watch() {
    const auto self = shared_from_this();
    while (!stopped) {
        watchdog.expires_after(milliseconds(250));
        co_await watchdog.async_wait(asio::as_tuple(asio::use_awaitable));
        // A look that comes late says that this thread was busy, not that Redis is silent.
        const auto late = SteadyClock::now() - watchdog.expiry();
        for (auto& [done, asked] : waiting) asked += late;
        if (stream && !waiting.empty() && SteadyClock::now() - waiting.front().second > options.timeout) {
            log_warn("redis_silent", {{"url", options.url}});
            drop();
        }
    }
}

awaitable<void> RedisConnection::Core::run() {
    const auto self = shared_from_this();
    asio::co_spawn(io, watch(), [self](std::exception_ptr) {});
    milliseconds pause{20};
    while (!stopped) {
        const auto error = co_await connect();
        if (!error && stream) {
            asio::co_spawn(io, read(), [self](std::exception_ptr) {});
            if (co_await check() && stream) {
                up = true;
                pause = milliseconds(20);
                if (on_state != nullptr && *on_state) (*on_state)(true);
                while (stream && !stopped) {
                    retry.expires_after(milliseconds(20));
                    co_await retry.async_wait(asio::as_tuple(asio::use_awaitable));
                }
                continue;
            }
        }
        drop();
        if (stopped) co_return;
        retry.expires_after(pause);
        co_await retry.async_wait(asio::as_tuple(asio::use_awaitable));
        pause = std::min(pause * 2, milliseconds(500));
    }
}

RedisScript::RedisScript(std::string source) : source_(std::move(source)), sha_(hex_encode(sha1(source_))) {}

void RedisScript::run(RedisConnection& connection, std::vector<std::string> words,
                      RedisConnection::Done done) const {
    std::vector<std::string_view> command{"EVALSHA", sha_, "0"};
    command.insert(command.end(), words.begin(), words.end());
    auto kept = std::make_shared<std::vector<std::string>>(std::move(words));
    connection.command(command, [this, &connection, kept, done = std::move(done)](Result<RedisReply> reply) {
        if (!reply || !reply->is_error() || !reply->text.starts_with("NOSCRIPT")) {
            done(std::move(reply));
            return;
        }
        std::vector<std::string_view> full{"EVAL", source_, "0"};
        full.insert(full.end(), kept->begin(), kept->end());
        connection.command(full, done);
    });
}

awaitable<Result<RedisReply>> RedisScript::run(RedisConnection& connection,
                                               std::vector<std::string> words) const {
    std::vector<std::string> command{"EVALSHA", sha_, "0"};
    command.insert(command.end(), words.begin(), words.end());
    auto reply = co_await connection.ask(std::move(command));
    if (!reply || !reply->is_error() || !reply->text.starts_with("NOSCRIPT")) co_return reply;
    std::vector<std::string> full{"EVAL", source_, "0"};
    full.insert(full.end(), words.begin(), words.end());
    co_return co_await connection.ask(std::move(full));
}

}  // namespace hexad
