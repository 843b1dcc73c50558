#include "ldap/agreement.hpp"

#include <fstream>

namespace hexad::ldap {

DirectoryConfig directory_of(const AgreementConfig& agreement) {
    DirectoryConfig out;
    out.name = agreement.name;
    out.hosts = agreement.hosts;
    out.tls = agreement.tls == "ldaps" ? Tls::ldaps : agreement.tls == "none" ? Tls::none : Tls::starttls;
    out.ca_file = agreement.ca;
    out.bind_dn = agreement.bind_dn;
    if (!agreement.password_file.empty()) {
        std::ifstream in(agreement.password_file);
        std::getline(in, out.password);
    }
    return out;
}

}  // namespace hexad::ldap
