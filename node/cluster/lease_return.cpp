#include "cluster/lease_return.hpp"

#include <memory>
#include <string_view>

#include <hiredis/hiredis.h>

namespace hexad {

bool return_lease(const std::string& cluster, const std::string& node, const std::string& incarnation,
                  const std::string& url, const std::string& password) {
    const timeval limit{2, 0};
    std::string_view rest = url;
    redisContext* raw = nullptr;
    if (rest.starts_with("unix:")) {
        raw = redisConnectUnixWithTimeout(url.c_str() + 5, limit);
    } else if (rest.starts_with("redis://")) {
        rest.remove_prefix(8);
        const auto colon = rest.rfind(':');
        const std::string host(rest.substr(0, colon));
        const int port =
            colon == std::string_view::npos ? 6379 : std::atoi(std::string(rest.substr(colon + 1)).c_str());
        raw = redisConnectWithTimeout(host.c_str(), port, limit);
    }
    const std::unique_ptr<redisContext, void (*)(redisContext*)> context(raw, [](redisContext* c) {
        if (c != nullptr) redisFree(c);
    });
    if (raw == nullptr || raw->err != 0) return false;
    redisSetTimeout(raw, limit);
    if (!password.empty()) freeReplyObject(redisCommand(raw, "AUTH %b", password.data(), password.size()));
    const auto key = "{hexad:" + cluster + "}:lease:" + node;
    constexpr const char* script =
        "if redis.call('GET', ARGV[1]) == ARGV[2] then return redis.call('DEL', ARGV[1]) end return 0";
    auto* reply = static_cast<redisReply*>(redisCommand(raw, "EVAL %s 0 %b %b", script, key.data(),
                                                        key.size(), incarnation.data(), incarnation.size()));
    const bool returned = reply != nullptr && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    if (reply != nullptr) freeReplyObject(reply);
    return returned;
}

}  // namespace hexad
