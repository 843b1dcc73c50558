#include "io/tls_context.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "io/tls_state.hpp"

namespace hexad {
namespace {

std::string lower(std::string_view text) {
    std::string out(text);
    for (auto& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
    return out;
}

/// OpenSSL's own texts for a missing file are riddles; say it first.
void check_readable(const std::string& what, const std::string& file) {
    std::ifstream in(file);
    if (!in) throw std::runtime_error(what + " file " + file + ": " + std::strerror(errno));
}

std::shared_ptr<SSL_CTX> new_context(const SSL_METHOD* method) {
    std::shared_ptr<SSL_CTX> ctx(SSL_CTX_new(method), SSL_CTX_free);
    if (!ctx) throw std::runtime_error("TLS: " + tls_error_text());
    SSL_CTX_set_options(ctx.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                       SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                       SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(ctx.get(), 1);
    SSL_CTX_set_min_proto_version(ctx.get(), TLS1_2_VERSION);
    return ctx;
}

void load_pair(SSL_CTX* ctx, const std::string& chain_file, const std::string& key_file) {
    check_readable("certificate", chain_file);
    check_readable("key", key_file);
    if (SSL_CTX_use_certificate_chain_file(ctx, chain_file.c_str()) != 1)
        throw std::runtime_error("certificate file " + chain_file + ": no PEM certificate chain (" +
                                 tls_error_text() + ')');
    // A passphrase prompt would hang a server: an encrypted key is an error.
    SSL_CTX_set_default_passwd_cb(ctx, [](char*, int, int, void*) { return -1; });
    if (SSL_CTX_use_PrivateKey_file(ctx, key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
        const auto code = ERR_peek_error();
        const bool other =
            ERR_GET_LIB(code) == ERR_LIB_X509 && (ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH ||
                                                  ERR_GET_REASON(code) == X509_R_KEY_TYPE_MISMATCH);
        const auto text = tls_error_text();
        if (other)
            throw std::runtime_error("key file " + key_file + " does not belong to the certificate in " +
                                     chain_file);
        throw std::runtime_error("key file " + key_file + ": no usable PEM private key (" + text + ')');
    }
    if (SSL_CTX_check_private_key(ctx) != 1) {
        tls_error_text();
        throw std::runtime_error("key file " + key_file + " does not belong to the certificate in " +
                                 chain_file);
    }
}

Timestamp not_after(X509* certificate) {
    std::tm tm{};
    ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm);
    return Timestamp(std::chrono::seconds(timegm(&tm)));
}

int choose_certificate(SSL* ssl, int*, void*) {
    const auto* handshake = static_cast<const TlsHandshake*>(SSL_get_ex_data(ssl, tls_handshake_index()));
    const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (handshake == nullptr || name == nullptr) return SSL_TLSEXT_ERR_NOACK;
    auto* ctx = handshake->state->select(name);
    if (ctx == nullptr) return SSL_TLSEXT_ERR_NOACK;
    SSL_set_SSL_CTX(ssl, ctx);
    if (handshake->state->requires_client(ctx))
        SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    return SSL_TLSEXT_ERR_OK;
}

/// No common protocol ends the handshake: bytes meant for another protocol must not reach this one.
int choose_alpn(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void*) {
    const auto* handshake = static_cast<const TlsHandshake*>(SSL_get_ex_data(ssl, tls_handshake_index()));
    if (handshake == nullptr || handshake->alpn.empty()) return SSL_TLSEXT_ERR_NOACK;
    for (const auto& accepted : handshake->alpn) {
        for (unsigned i = 0; i < in_size; i += 1u + in[i]) {
            if (std::string_view(reinterpret_cast<const char*>(in + i + 1), in[i]) == accepted) {
                *out = in + i + 1;
                *out_size = in[i];
                return SSL_TLSEXT_ERR_OK;
            }
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

void trust(SSL_CTX* ctx, const std::string& ca_file) {
    check_readable("CA", ca_file);
    if (SSL_CTX_load_verify_locations(ctx, ca_file.c_str(), nullptr) != 1)
        throw std::runtime_error("CA file " + ca_file + ": no PEM certificate (" + tls_error_text() + ')');
}

TlsContext::State::Entry load(const TlsCertificate& certificate, const TlsPolicy& policy) {
    TlsContext::State::Entry entry;
    entry.ctx = new_context(TLS_server_method());
    auto* ctx = entry.ctx.get();
    if (policy.min_version == "1.3") {
        SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    } else if (policy.min_version != "1.2") {
        throw std::runtime_error("TLS minimum version must be 1.2 or 1.3, not '" + policy.min_version + "'");
    }
    SSL_CTX_set_num_tickets(ctx, 1);
    constexpr std::string_view session_context = "hexad";
    SSL_CTX_set_session_id_context(ctx, reinterpret_cast<const unsigned char*>(session_context.data()),
                                   session_context.size());
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);  // tickets carry what resumption needs
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, nullptr);
    load_pair(ctx, certificate.chain_file, certificate.key_file);
    entry.only_configured = !certificate.only_for.empty();
    const auto& client_ca = entry.only_configured ? certificate.client_ca_file : policy.client_ca_file;
    if (!client_ca.empty()) {
        trust(ctx, client_ca);
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(client_ca.c_str()));
    }
    auto* x509 = SSL_CTX_get0_certificate(ctx);
    entry.info = {certificate.chain_file, tls_dns_names(x509), not_after(x509)};
    for (const auto& name : certificate.names) {
        const auto wanted = lower(name);
        const bool covered =
            std::any_of(entry.info.names.begin(), entry.info.names.end(),
                        [&](const std::string& pattern) { return tls_name_matches(pattern, wanted); });
        if (!covered) {
            std::string has;
            for (const auto& pattern : entry.info.names) has += (has.empty() ? "" : ", ") + pattern;
            throw std::runtime_error("certificate file " + certificate.chain_file + " does not cover " +
                                     name + " (it names: " + (has.empty() ? "nothing" : has) + ')');
        }
        entry.configured.push_back(wanted);
    }
    if (entry.only_configured) entry.configured.push_back(lower(certificate.only_for));
    return entry;
}

std::shared_ptr<const TlsContext::State> load_all(const std::vector<TlsCertificate>& certificates,
                                                  const TlsPolicy& policy) {
    if (certificates.empty()) throw std::runtime_error("TLS: no certificate is configured");
    auto state = std::make_shared<TlsContext::State>();
    for (const auto& certificate : certificates) state->entries.push_back(load(certificate, policy));
    return state;
}

}  // namespace

std::string tls_error_text() {
    const auto code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) return "unknown reason";
    const char* reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : "OpenSSL error " + std::to_string(code);
}

int tls_handshake_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

bool tls_name_matches(std::string_view pattern, std::string_view name) {
    if (!name.empty() && name.back() == '.') name.remove_suffix(1);
    const auto equal = [](std::string_view a, std::string_view b) {
        return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
                   return std::tolower(static_cast<unsigned char>(x)) ==
                          std::tolower(static_cast<unsigned char>(y));
               });
    };
    if (!pattern.starts_with("*.")) return equal(pattern, name);
    const auto dot = name.find('.');
    return dot != std::string_view::npos && dot > 0 && equal(pattern.substr(1), name.substr(dot));
}

std::vector<std::string> tls_dns_names(X509* certificate) {
    std::vector<std::string> names;
    auto* all =
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
    if (all == nullptr) return names;
    for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
        const auto* name = sk_GENERAL_NAME_value(all, i);
        if (name->type != GEN_DNS) continue;
        const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                                    static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
        if (text.find('\0') == std::string_view::npos) names.push_back(lower(text));
    }
    GENERAL_NAMES_free(all);
    return names;
}

SSL_CTX* TlsContext::State::select(std::string_view name) const {
    const auto wanted = lower(name);
    for (const auto& entry : entries)
        if (std::find(entry.configured.begin(), entry.configured.end(), wanted) != entry.configured.end())
            return entry.ctx.get();
    for (const bool wildcard : {false, true}) {
        for (const auto& entry : entries) {
            if (entry.only_configured) continue;
            for (const auto& pattern : entry.info.names)
                if (pattern.starts_with("*.") == wildcard && tls_name_matches(pattern, wanted))
                    return entry.ctx.get();
        }
    }
    return nullptr;
}

bool TlsContext::State::requires_client(const SSL_CTX* ctx) const {
    return std::any_of(entries.begin(), entries.end(),
                       [ctx](const Entry& entry) { return entry.only_configured && entry.ctx.get() == ctx; });
}

TlsContext::TlsContext(std::vector<TlsCertificate> certificates, TlsPolicy policy)
    : certificates_(std::move(certificates)),
      policy_(std::move(policy)),
      state_(load_all(certificates_, policy_)) {}

void TlsContext::reload() { state_ = load_all(certificates_, policy_); }

std::vector<TlsCertificateInfo> TlsContext::info() const {
    std::vector<TlsCertificateInfo> all;
    for (const auto& entry : state_->entries) all.push_back(entry.info);
    return all;
}

bool TlsContext::covers(std::string_view name) const { return state_->select(name) != nullptr; }

TlsClientContext::TlsClientContext(const std::string& ca_file, const std::string& chain_file,
                                   const std::string& key_file)
    : ctx_(new_context(TLS_client_method())) {
    if (ca_file.empty()) {
        SSL_CTX_set_default_verify_paths(ctx_.get());
    } else {
        trust(ctx_.get(), ca_file);
    }
    if (!chain_file.empty()) load_pair(ctx_.get(), chain_file, key_file);
    SSL_CTX_set_verify(ctx_.get(), SSL_VERIFY_PEER, nullptr);
}

TlsClientContext TlsClientContext::unverified() {
    TlsClientContext context;
    context.ctx_ = new_context(TLS_client_method());
    SSL_CTX_set_verify(context.ctx_.get(), SSL_VERIFY_NONE, nullptr);
    return context;
}

}  // namespace hexad
