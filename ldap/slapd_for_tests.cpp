#include "ldap/slapd_for_tests.hpp"

#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

// libldap 2.5 forgets the bytes of a notice of disconnection (RFC 4511 §4.4.1) that is read before the
// stream's end: now and then, when a server stops. A result of our own that is forgotten is still found, by
// the message around them.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:^ber_alloc_t$\n"; }
// The library has no frame pointers.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "fast_unwind_on_malloc=0"; }

namespace hexad::ldap {

namespace {

constexpr const char* slapd = "/usr/sbin/slapd";
constexpr const char* slapadd = "/usr/sbin/slapadd";

int free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        throw std::runtime_error("no free port");
    ::close(fd);
    return ntohs(address.sin_port);
}

bool answers(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    const bool is_connected = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return is_connected;
}

void run(const std::string& command) {
    if (std::system(("(" + command + ") >/dev/null 2>&1 </dev/null").c_str()) != 0)
        throw std::runtime_error("failed: " + command);
}

}  // namespace

bool Slapd::is_there() { return ::access(slapd, X_OK) == 0 && ::access(slapadd, X_OK) == 0; }

Slapd::Slapd(const std::string& extra, const std::string& ldif)
    : port_(free_port()), secure_port_(free_port()) {
    char name[] = "/tmp/hexad-slapd-XXXXXX";
    if (::mkdtemp(name) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = name;
    std::filesystem::create_directory(folder_ / "db");
    const auto path = folder_.string();
    run("cd " + path +
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem "
        "-days 2 -subj /CN=test-ca");
    run("cd " + path +
        " && printf 'subjectAltName=IP:127.0.0.1\\n' >san && openssl req -newkey ec -pkeyopt "
        "ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr -subj /CN=slapd && openssl x509 -req -in "
        "csr -CA ca.pem "
        "-CAkey ca.key -CAcreateserial -days 2 -extfile san -out cert.pem");
    std::ofstream(folder_ / "slapd.conf")
        << "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n"
           "include /etc/ldap/schema/inetorgperson.schema\n"
           "modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload syncprov\nmoduleload ppolicy\n"
           "TLSCACertificateFile "
        << path << "/ca.pem\nTLSCertificateFile " << path << "/cert.pem\nTLSCertificateKeyFile " << path
        << "/key.pem\ndatabase mdb\nsuffix dc=test\nrootdn cn=root,dc=test\nrootpw root\ndirectory " << path
        << "/db\nmaxsize 104857600\ndbnosync\nindex objectClass,uid,entryCSN,entryUUID eq\n"
        << extra
        << "\naccess to attrs=userPassword by anonymous auth by * none\naccess to * by users read by * none\n"
           "overlay syncprov\nsyncprov-sessionlog 100\n";
    std::ofstream(folder_ / "base.ldif")
        << "dn: dc=test\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: test\n\n"
        << "dn: " << service_dn
        << "\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: service\nuserPassword: "
        << service_password << "\n\ndn: ou=people,dc=test\nobjectClass: organizationalUnit\nou: people\n\n"
        << ldif;
    run(std::string(slapadd) + " -q -w -f " + path + "/slapd.conf -l " + path + "/base.ldif");
    start();
}

Slapd::~Slapd() {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
}

void Slapd::start() {
    const auto config = (folder_ / "slapd.conf").string();
    const auto listeners = address() + "/ " + secure_address() + "/";
    pid_ = ::fork();
    if (pid_ == 0) {
        const int null = ::open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
        for (int fd = 3; fd < 1024; ++fd) ::close(fd);
        ::execl(slapd, slapd, "-d", "none", "-f", config.c_str(), "-h", listeners.c_str(), nullptr);
        ::_exit(127);
    }
    for (int attempt = 0; attempt < 200; ++attempt) {
        if (answers(port_) && answers(secure_port_)) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
    throw std::runtime_error("slapd does not start");
}

void Slapd::stop() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGCONT);
    ::kill(pid_, SIGTERM);
    for (int attempt = 0; attempt < 200; ++attempt) {
        if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
            pid_ = -1;
            return;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
}

void Slapd::freeze() {
    ::kill(pid_, SIGSTOP);
    ::waitpid(pid_, nullptr, WUNTRACED);  // until every thread of it stands still
}
void Slapd::thaw() { ::kill(pid_, SIGCONT); }

void Slapd::modify(const std::string& ldif) const {
    std::ofstream(folder_ / "change.ldif") << ldif;
    run("ldapmodify -x -H " + address() + " -D cn=root,dc=test -w root -f " +
        (folder_ / "change.ldif").string());
}

}  // namespace hexad::ldap
