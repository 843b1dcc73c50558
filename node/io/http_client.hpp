#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "io/http_message.hpp"
#include "io/tls_context.hpp"

namespace hexad {

struct HttpReply {
    int status = 0;
    HttpFields fields;
    std::string body;
};

/// A blocking HTTP/1.1 client for command-line tools: one connection per request.
class HttpClient {
public:
    /// `base`: `unix:/path/to/socket`, `http://host:port` or `https://host:port`. For https `ca_file` says
    /// whom to trust (empty = the system's authorities). Throws std::invalid_argument for any other form of
    /// address.
    explicit HttpClient(std::string_view base, const std::string& ca_file = {},
                        milliseconds timeout = milliseconds(30000));

    /// Sent with each request from now on, e.g. Authorization.
    void set_header(std::string_view name, std::string_view value) { fields_.set(name, value); }

    /// The reply, whatever its status; the error is a sentence for people.
    Result<HttpReply, std::string> request(std::string_view method, std::string_view path,
                                           std::string_view body = {},
                                           std::string_view content_type = "application/json") const;
    Result<HttpReply, std::string> get(std::string_view path) const { return request("GET", path); }

private:
    std::string unix_path_;
    std::string host_;
    std::string port_;
    std::optional<TlsClientContext> tls_;
    HttpFields fields_;
    milliseconds timeout_;
};

}  // namespace hexad
