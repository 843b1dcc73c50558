#include "app/host_certificates.hpp"

#include <filesystem>

#include "base/log.hpp"

namespace hexad {

std::vector<TlsCertificate> host_certificates(const Config& config, const std::string& address,
                                              const std::string& data) {
    std::vector<TlsCertificate> certificates;
    for (const auto& host : config.hosts) {
        TlsCertificate certificate;
        certificate.names = {host.name};
        certificate.chain_file = host.certificate;
        certificate.key_file = host.key;
        if (host.certificate.empty()) {
            const auto base = data + '/' + host.name;
            certificate.chain_file = base + ".crt";
            certificate.key_file = base + ".key";
            if (!std::filesystem::exists(certificate.chain_file)) {
                make_self_signed(host.name, certificate.chain_file, certificate.key_file, address);
                log_warn("certificate_self_signed", {{"host", host.name}, {"file", certificate.chain_file}});
            }
        }
        certificates.push_back(std::move(certificate));
    }
    return certificates;
}

}  // namespace hexad
