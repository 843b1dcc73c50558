#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <stdexcept>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "io/tls_context.hpp"
#include "io/tls_state.hpp"

namespace hexad {
namespace {

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

/// Writes through a new file beside the target: a reader sees the old content or the new one.
void write_file(const std::string& file, mode_t mode, const std::string& content) {
    const auto temporary = file + ".new";
    ::unlink(temporary.c_str());
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) throw std::runtime_error("cannot write " + temporary + ": " + std::strerror(errno));
    const bool written = ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size());
    const int reason = errno;
    ::close(fd);
    if (!written) throw std::runtime_error("cannot write " + temporary + ": " + std::strerror(reason));
    if (::rename(temporary.c_str(), file.c_str()) != 0)
        throw std::runtime_error("cannot write " + file + ": " + std::strerror(errno));
}

std::string content_of(BIO* bio) {
    char* data = nullptr;
    const auto size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

void check(bool ok) {
    if (!ok) throw std::runtime_error("cannot make a certificate: " + tls_error_text());
}

}  // namespace

void make_self_signed(const std::string& host, const std::string& chain_file, const std::string& key_file,
                      const std::string& address) {
    const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    check(key != nullptr);
    const Owned<X509> certificate(X509_new(), X509_free);
    check(certificate != nullptr);
    auto* x509 = certificate.get();
    X509_set_version(x509, X509_VERSION_3);
    std::uint64_t serial = 0;
    check(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1);
    check(ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial >> 1 | 1) == 1);
    constexpr long day = 24 * 60 * 60;
    X509_gmtime_adj(X509_getm_notBefore(x509), -day);  // clocks differ
    X509_gmtime_adj(X509_getm_notAfter(x509), 3650 * day);
    check(X509_set_pubkey(x509, key.get()) == 1);
    auto* name = X509_get_subject_name(x509);
    const auto common = host.substr(0, 64);  // the limit of a common name; the full name stands in the SAN
    check(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                     reinterpret_cast<const unsigned char*>(common.data()),
                                     static_cast<int>(common.size()), -1, 0) == 1);
    check(X509_set_issuer_name(x509, name) == 1);
    X509V3_CTX extension{};
    X509V3_set_ctx_nodb(&extension);
    X509V3_set_ctx(&extension, x509, x509, nullptr, nullptr, 0);
    auto names = "DNS:" + host + ",DNS:*." + host;
    if (!address.empty()) names += ",IP:" + address;
    const std::pair<int, std::string> extensions[] = {
        {NID_subject_alt_name, names},
        {NID_basic_constraints, "critical,CA:TRUE"},
        {NID_ext_key_usage, "serverAuth,clientAuth"},
    };
    for (const auto& [nid, value] : extensions) {
        const Owned<X509_EXTENSION> made(X509V3_EXT_conf_nid(nullptr, &extension, nid, value.c_str()),
                                         X509_EXTENSION_free);
        check(made != nullptr && X509_add_ext(x509, made.get(), -1) == 1);
    }
    check(X509_sign(x509, key.get(), EVP_sha256()) > 0);

    const Owned<BIO> key_text(BIO_new(BIO_s_mem()), BIO_free_all);
    check(PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
    const Owned<BIO> chain_text(BIO_new(BIO_s_mem()), BIO_free_all);
    check(PEM_write_bio_X509(chain_text.get(), x509) == 1);
    write_file(key_file, 0600, content_of(key_text.get()));
    write_file(chain_file, 0644, content_of(chain_text.get()));
}

}  // namespace hexad
