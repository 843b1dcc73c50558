#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"

namespace hexad {

/// A place for one file (XEP-0363), agreed between the module that gives it and the HTTP side that fills it.
/// It is kept nowhere: the signature in its PUT address proves it to any node that has the secret.
struct UploadSlot {
    std::string id;    ///< 26 characters of lower-case base32, unguessable
    std::string name;  ///< file name, clean (see clean_file_name)
    std::uint64_t size = 0;
    std::string type;        ///< media type, empty if the client told none
    std::int64_t until = 0;  ///< last second (since 1970) to begin the upload

    /// `/upload/<id>/<name>`, percent-encoded: where the file is got.
    std::string path() const;
    /// `s=…&t=…&e=…&h=…`: the query of the PUT address.
    std::string query(std::string_view secret) const;
    /// Hexadecimal HMAC-SHA-256 over all members.
    std::string signature(std::string_view secret) const;
};

/// The id and name in a decoded path; nothing if it is no path of a file.
std::optional<UploadSlot> read_upload_path(std::string_view path);
/// A name that is safe as the last part of an address: no separators, no control characters, at most 200
/// bytes, neither
/// `.` nor `..`. Nothing if it is not.
std::optional<std::string> clean_file_name(std::string_view name);
/// `type/subtype` in lower case without parameters; nothing if it is none.
std::optional<std::string> clean_media_type(std::string_view type);

}  // namespace hexad
