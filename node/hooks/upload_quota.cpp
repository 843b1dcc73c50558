#include "hooks/upload_quota.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <unistd.h>

#include "base/text.hpp"

namespace hexad {

namespace {

error_code last_error() { return {errno, boost::system::system_category()}; }

/// An open file that is closed, and so unlocked, at the end.
struct LockedFile {
    explicit LockedFile(const std::string& path)
        : fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640)) {
        while (fd >= 0 && ::flock(fd, LOCK_EX) != 0) {
            if (errno == EINTR) continue;
            ::close(fd);
            fd = -1;
        }
    }
    LockedFile(const LockedFile&) = delete;
    LockedFile& operator=(const LockedFile&) = delete;
    ~LockedFile() {
        if (fd >= 0) ::close(fd);
    }
    int fd;
};

}  // namespace

Result<std::optional<Timestamp>> UploadQuota::take(const Jid& account, std::uint64_t size,
                                                   Timestamp now) const {
    if (limit_ == 0) return std::optional<Timestamp>{};
    const auto today = std::chrono::floor<std::chrono::days>(now);
    const std::filesystem::path folder = std::filesystem::path(folder_) / "quota";
    std::error_code ignored;
    std::filesystem::create_directories(folder, ignored);
    const LockedFile file(folder / hex_encode(sha256(account.to_string())).substr(0, 32));
    if (file.fd < 0) return last_error();
    char text[64] = {};
    const auto length = ::pread(file.fd, text, sizeof text - 1, 0);
    if (length < 0) return last_error();
    long long day = 0;
    unsigned long long used = 0;
    if (std::sscanf(text, "%lld %llu", &day, &used) != 2 || day != today.time_since_epoch().count()) used = 0;
    if (size > limit_ || used > limit_ - size)
        return std::optional<Timestamp>(
            std::chrono::time_point_cast<Timestamp::duration>(today + std::chrono::days(1)));
    // Padded, so that what is written is never shorter than what stood there.
    const auto written = std::snprintf(text, sizeof text, "%lld %-24llu\n",
                                       static_cast<long long>(today.time_since_epoch().count()), used + size);
    if (::pwrite(file.fd, text, static_cast<std::size_t>(written), 0) != written) return last_error();
    return std::optional<Timestamp>{};
}

}  // namespace hexad
