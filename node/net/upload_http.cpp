#include "net/upload_http.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <openssl/crypto.h>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "hooks/upload_slot.hpp"

namespace hexad {

namespace {

namespace fs = std::filesystem;

awaitable<int> call(std::function<int()> work) { co_return work(); }

/// Runs blocking work on a disk thread: 0 or an errno.
awaitable<int> on_disk(const asio::any_io_executor& disk, std::function<int()> work) {
    return asio::co_spawn(disk, call(std::move(work)), asio::use_awaitable);
}

/// A file that is being written; it is gone with this object unless it was kept.
struct PartialFile {
    std::string path;
    FileDescriptor file;
    ~PartialFile() {
        if (!path.empty()) ::unlink(path.c_str());
    }
};

int open_part(PartialFile& part) {
    std::error_code ignored;
    fs::create_directories(fs::path(part.path).parent_path(), ignored);
    part.file = FileDescriptor(::open(part.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
    return part.file ? 0 : errno;
}

int write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return 0;
}

/// The body of an upload on its way to the disk. Lives until all of it is read.
struct BodyWriter {
    const asio::any_io_executor& disk;
    PartialFile& part;
    int failed = 0;  ///< errno
    awaitable<error_code> operator()(std::string_view bytes) {
        failed = co_await on_disk(disk, [this, bytes] { return write_all(part.file.get(), bytes); });
        co_return failed == 0 ? error_code() : error_code(failed, boost::system::system_category());
    }
};

int sync_folder(const fs::path& folder) {
    const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fd && ::fsync(fd.get()) == 0 ? 0 : errno;
}

/// Makes the written file appear under its name, its media type and name beside it first. EEXIST: somebody
/// was faster.
int publish(PartialFile& part, const std::string& path, const std::string& about) {
    if (::fsync(part.file.get()) != 0) return errno;
    if (::access(path.c_str(), F_OK) == 0) return EEXIST;
    PartialFile side{part.path + ".about", {}};
    if (const int error = open_part(side)) return error;
    if (const int error = write_all(side.file.get(), about)) return error;
    if (::fsync(side.file.get()) != 0) return errno;
    if (::rename(side.path.c_str(), (path + ".about").c_str()) != 0) return errno;
    side.path.clear();
    if (::link(part.path.c_str(), path.c_str()) != 0) return errno;
    return sync_folder(fs::path(path).parent_path());
}

/// Types that browsers show without running anything.
bool is_safe(std::string_view type) {
    if (type == "text/plain") return true;
    if (type.starts_with("image/"))
        return type.find("svg") == std::string_view::npos && type.find("xml") == std::string_view::npos;
    return type.starts_with("audio/") || type.starts_with("video/");
}

template <class Number>
std::optional<Number> number(const std::optional<std::string>& text) {
    Number value{};
    if (!text) return std::nullopt;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
    return value;
}

bool same(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string path_of(const HttpOptions& options, const std::string& id) {
    return options.files + '/' + id.substr(0, 2) + '/' + id;
}

/// Files that are too old; what a crash has left, once it cannot belong to an upload under way at another
/// node; sums of former days.
void remove_old(const std::string& folder, seconds retention) {
    std::error_code error;
    const auto now = fs::file_time_type::clock::now();
    std::uint64_t removed = 0;
    for (auto it = fs::recursive_directory_iterator(folder, error);
         !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
        std::error_code gone;
        if (!it->is_regular_file(gone)) continue;
        const auto& path = it->path();
        const auto written = fs::last_write_time(path, gone);
        if (gone) continue;
        const bool passing = path.filename().string().find(".part") != std::string::npos ||
                             path.parent_path().filename() == "quota";
        const auto keep = passing ? seconds(2 * 86400) : retention;
        if (keep.count() > 0 && written < now - keep && fs::remove(path, gone)) ++removed;
    }
    if (removed > 0) log_info("uploads_removed", {{"files", removed}});
}

/// Looks for what is too old as long as the disk threads run. In a cluster every node does: they share the
/// folder.
awaitable<void> keep_clean(std::string folder, seconds retention) {
    const auto pause =
        retention.count() == 0 ? seconds(3600) : std::clamp(retention / 10, seconds(1), seconds(3600));
    asio::steady_timer timer(co_await asio::this_coro::executor);
    for (;;) {
        remove_old(folder, retention);
        timer.expires_after(pause);
        const auto [error] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
        if (error) co_return;
    }
}

HttpResponse failed(const std::string& what, int error) {
    log_error("upload_failed", {{"what", what}, {"error", std::generic_category().message(error)}});
    return error == ENOSPC || error == EDQUOT ? HttpResponse(507, "no room\n")
                                              : HttpResponse(500, "internal error\n");
}

}  // namespace

UploadHttp::UploadHttp(HttpOptions options, asio::any_io_executor disk)
    : options_(std::move(options)), disk_(std::move(disk)) {
    asio::co_spawn(disk_, keep_clean(options_.files, options_.retention), asio::detached);
}

void UploadHttp::serve(HttpServer& server) {
    server.route("PUT", "/upload/", [this](HttpRequest& request) { return put(request); });
    server.route("GET", "/upload/", [this](HttpRequest& request) { return get(request); });
    server.allow_origins("/upload/");
}

awaitable<HttpResponse> UploadHttp::put(HttpRequest& request) {
    auto slot = read_upload_path(request.path());
    const auto size = number<std::uint64_t>(request.parameter("s"));
    const auto until = number<std::int64_t>(request.parameter("e"));
    const auto signature = request.parameter("h");
    if (!slot || !size || !until || !signature) co_return HttpResponse(403, "no such slot\n");
    slot->size = *size;
    slot->until = *until;
    slot->type = request.parameter("t").value_or("");
    if (!same(slot->signature(options_.secret), *signature)) co_return HttpResponse(403, "no such slot\n");
    if (std::chrono::floor<seconds>(wall_now()).time_since_epoch().count() > slot->until) {
        co_return HttpResponse(403, "the slot has expired\n");
    }
    const auto length = request.content_length();
    if (!length) co_return HttpResponse(411, "a length is needed\n");
    if (*length != slot->size)
        co_return HttpResponse(*length > slot->size ? 413 : 400, "not the size of the slot\n");
    auto type = slot->type;
    if (!request.header("Content-Type").empty()) {
        const auto told = clean_media_type(request.header("Content-Type"));
        if (!type.empty() && (!told || *told != type))
            co_return HttpResponse(415, "not the media type of the slot\n");
        if (told) type = *told;
    }
    if (type.empty()) type = "application/octet-stream";

    const auto path = path_of(options_, slot->id);
    PartialFile part{path + ".part" + random_id(5), {}};
    const int opened =
        co_await on_disk(disk_, [&] { return ::access(path.c_str(), F_OK) == 0 ? EEXIST : open_part(part); });
    if (opened == EEXIST) co_return HttpResponse(409, "there is a file already\n");
    if (opened != 0) co_return failed("open", opened);
    BodyWriter body{disk_, part};
    if (const auto error = co_await request.read_body(slot->size, std::ref(body))) {
        if (body.failed != 0) co_return failed("write", body.failed);
        log_info("upload_interrupted", {{"error", error.message()}});
        co_return HttpResponse(400, "the body broke off\n");
    }
    const int published =
        co_await on_disk(disk_, [&] { return publish(part, path, type + '\n' + slot->name + '\n'); });
    if (published == EEXIST) co_return HttpResponse(409, "there is a file already\n");
    if (published != 0) co_return failed("publish", published);
    co_return HttpResponse(201, "");
}

awaitable<HttpResponse> UploadHttp::get(HttpRequest& request) {
    const auto slot = read_upload_path(request.path());
    if (!slot) co_return HttpResponse(404, "not found\n");
    const auto path = path_of(options_, slot->id);
    FileDescriptor file;
    std::uint64_t size = 0;
    std::string type, name;
    const int error = co_await on_disk(disk_, [&] {
        file = FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        struct stat info{};
        if (!file || ::fstat(file.get(), &info) != 0) return errno;
        size = static_cast<std::uint64_t>(info.st_size);
        std::ifstream about(path + ".about");
        return std::getline(about, type) && std::getline(about, name) ? 0 : ENOENT;
    });
    if ((error == 0 && name != slot->name) || error == ENOENT) co_return HttpResponse(404, "not found\n");
    if (error != 0) co_return failed("read", error);
    auto response =
        HttpResponse::file(std::move(file), size, type == "text/plain" ? "text/plain; charset=utf-8" : type);
    response.set("Content-Disposition", std::string(is_safe(type) ? "inline" : "attachment") +
                                            "; filename*=UTF-8''" + percent_encode(name));
    response.set("Content-Security-Policy", "default-src 'none'; sandbox")
        .set("X-Content-Type-Options", "nosniff");
    response.set("Cache-Control", "public, max-age=31536000, immutable").set("ETag", '"' + slot->id + '"');
    co_return response;
}

}  // namespace hexad
