#include "hooks/upload_slot.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/text.hpp"

namespace hexad {

namespace {

constexpr std::string_view prefix = "/upload/";
constexpr std::size_t id_size = 26;

bool is_unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

std::string encoded(std::string_view text) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        if (is_unreserved(c)) {
            out += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += '%';
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
    }
    return out;
}

}  // namespace

std::string UploadSlot::path() const { return std::string(prefix) + id + '/' + encoded(name); }

std::string UploadSlot::signature(std::string_view secret) const {
    std::string text = "upload";
    for (const auto& part : {id, name, std::to_string(size), type, std::to_string(until)}) {
        text += '\0';
        text += part;
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &length);
    return hex_encode({reinterpret_cast<const char*>(digest), length});
}

std::string UploadSlot::query(std::string_view secret) const {
    return "s=" + std::to_string(size) + "&t=" + encoded(type) + "&e=" + std::to_string(until) +
           "&h=" + signature(secret);
}

std::optional<UploadSlot> read_upload_path(std::string_view path) {
    if (!path.starts_with(prefix)) return std::nullopt;
    path.remove_prefix(prefix.size());
    const auto slash = path.find('/');
    if (slash != id_size) return std::nullopt;
    UploadSlot slot;
    slot.id = path.substr(0, slash);
    for (const char c : slot.id) {
        if (!((c >= 'a' && c <= 'z') || (c >= '2' && c <= '7'))) return std::nullopt;
    }
    auto name = clean_file_name(path.substr(slash + 1));
    if (!name) return std::nullopt;
    slot.name = std::move(*name);
    return slot;
}

std::optional<std::string> clean_file_name(std::string_view name) {
    if (name.empty() || name.size() > 200 || name == "." || name == ".." || !is_utf8(name))
        return std::nullopt;
    for (const char c : name) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '/' || c == '\\') return std::nullopt;
    }
    return std::string(name);
}

std::optional<std::string> clean_media_type(std::string_view type) {
    type = type.substr(0, type.find(';'));
    while (type.ends_with(' ')) type.remove_suffix(1);
    const auto slash = type.find('/');
    if (slash == std::string_view::npos || slash == 0 || slash + 1 == type.size() || type.size() > 100)
        return std::nullopt;
    std::string out;
    for (std::size_t i = 0; i < type.size(); ++i) {
        const char c = type[i];
        const bool is_token =
            is_unreserved(c) || std::string_view("!#$&^+").find(c) != std::string_view::npos;
        if (!is_token && i != slash) return std::nullopt;
        out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    return out;
}

}  // namespace hexad
