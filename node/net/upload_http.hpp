#pragma once

#include <string>

#include "hooks/http_routes.hpp"
#include "io/http.hpp"

namespace hexad {

/// The files of XEP-0363: PUT at a signed slot, GET and HEAD for whoever knows the address. Files lie in
/// `options.files`, which the nodes of a cluster share; a file is there whole or not at all.
///
/// Status of a PUT: 201 stored, 400 shorter than the slot, 403 no such slot or too late, 409 there is a file
/// already, 411 no length, 413 longer than the slot, 415 another media type, 507 no room.
class UploadHttp {
public:
    /// `disk`: threads for reading and writing files; what is older than `options.retention` is removed
    /// there.
    UploadHttp(HttpOptions options, asio::any_io_executor disk);
    /// Registers the routes below `/upload/`.
    void serve(HttpServer& server);

private:
    awaitable<HttpResponse> put(HttpRequest& request);
    awaitable<HttpResponse> get(HttpRequest& request);

    HttpOptions options_;
    asio::any_io_executor disk_;
};

}  // namespace hexad
