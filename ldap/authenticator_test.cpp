#include "ldap/authenticator.hpp"

#include <future>
#include <iostream>
#include <thread>

#include <boost/asio.hpp>
#include <catch2/catch.hpp>

#include "ldap/slapd_for_tests.hpp"

using namespace hexad;
using namespace hexad::ldap;
using namespace std::chrono_literals;

namespace {

bool skipped() {
    if (Slapd::is_there()) return false;
    std::cout << "SKIPPED no slapd\n";
    return true;
}

const std::string people =
    "dn: uid=juliet,ou=people,dc=test\nobjectClass: inetOrgPerson\nuid: juliet\ncn: Juliet\nsn: "
    "C\nuserPassword: rose\n\n"
    "dn: uid=nurse,ou=people,dc=test\nobjectClass: inetOrgPerson\nuid: nurse\ncn: N\nsn: N\nuserPassword: "
    "milk\n\n"
    "dn: cn=other nurse,ou=people,dc=test\nobjectClass: inetOrgPerson\nuid: nurse\ncn: other nurse\nsn: "
    "N\n\n";

DirectoryConfig config(std::initializer_list<const Slapd*> hosts) {
    DirectoryConfig result;
    result.name = "test";
    for (const auto* host : hosts) result.hosts.push_back(host->address());
    result.tls = Tls::none;
    result.bind_dn = Slapd::service_dn;
    result.password = Slapd::service_password;
    return result;
}

AuthenticatorOptions quick() {
    AuthenticatorOptions options;
    options.patience = 500ms;
    options.breaker_pause = 30s;
    options.probe_interval = 300ms;
    return options;
}

LoginAnswer login(LdapAuthenticator& authenticator, const std::string& name, const std::string& password) {
    std::promise<LoginAnswer> promise;
    auto answer = promise.get_future();
    authenticator.authenticate({"ou=people,dc=test", "(objectClass=inetOrgPerson)", "uid", name, password},
                               [&promise](LoginAnswer told) { promise.set_value(std::move(told)); });
    return answer.get();
}

template <class Condition>
bool eventually(Condition condition) {
    for (int attempt = 0; attempt < 200; ++attempt) {
        if (condition()) return true;
        std::this_thread::sleep_for(25ms);
    }
    return false;
}

}  // namespace

TEST_CASE("the right password is let in, anything else is not", "[ldap][slapd][directory-sync-9]") {
    if (skipped()) return;
    Slapd slapd("", people);
    LdapAuthenticator authenticator(config({&slapd}), quick());
    const auto good = login(authenticator, "juliet", "rose");
    CHECK(good.result == LoginResult::ok);
    CHECK(good.dn == "uid=juliet,ou=people,dc=test");
    CHECK(login(authenticator, "juliet", "thorn").result == LoginResult::not_authorized);
    CHECK(login(authenticator, "juliet", "").result == LoginResult::not_authorized);
    CHECK(login(authenticator, "nobody", "rose").result == LoginResult::not_authorized);
    CHECK(login(authenticator, "*", "rose").result == LoginResult::not_authorized);
    CHECK(login(authenticator, "j*", "rose").result == LoginResult::not_authorized);
    CHECK(login(authenticator, "x)(uid=juliet", "rose").result == LoginResult::not_authorized);
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
}

TEST_CASE("a name that two entries have is refused", "[ldap][slapd][directory-sync-9]") {
    if (skipped()) return;
    Slapd slapd("", people);
    LdapAuthenticator authenticator(config({&slapd}), quick());
    CHECK(login(authenticator, "nurse", "milk").result == LoginResult::not_authorized);
}

TEST_CASE("the protocol thread can wait for a login", "[ldap][slapd]") {
    if (skipped()) return;
    Slapd slapd("", people);
    LdapAuthenticator authenticator(config({&slapd}), quick());
    asio::io_context context;
    LoginAnswer answer;
    const auto waiting = [&]() -> awaitable<void> {
        LoginRequest request{"ou=people,dc=test", "", "uid", "juliet", "rose"};
        answer = co_await authenticator.authenticate(std::move(request));
    };
    asio::co_spawn(context, waiting(), asio::detached);
    context.run();
    CHECK(answer.result == LoginResult::ok);
}

TEST_CASE("the next host is asked when one is down, and the first again when it is back",
          "[ldap][slapd][directory-sync-9]") {
    if (skipped()) return;
    Slapd first("", people);
    Slapd second("", people);
    LdapAuthenticator authenticator(config({&first, &second}), quick());
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
    first.stop();
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
    CHECK(login(authenticator, "juliet", "thorn").result == LoginResult::not_authorized);
    CHECK(eventually([&] { return !authenticator.health()[0].is_up; }));
    CHECK(authenticator.health()[1].is_up);
    first.start();
    CHECK(eventually([&] { return authenticator.health()[0].is_up; }));
    second.stop();
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
}

TEST_CASE("a slow host is left within the patience", "[ldap][slapd][directory-sync-9]") {
    if (skipped()) return;
    Slapd first("", people);
    Slapd second("", people);
    auto options = quick();
    options.probe_interval = 60s;
    LdapAuthenticator authenticator(config({&first, &second}), options);
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
    first.freeze();
    auto start = SteadyClock::now();
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
    CHECK(SteadyClock::now() - start < 2 * options.patience + 500ms);  // search and bind wait once each
    start = SteadyClock::now();
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
    CHECK(SteadyClock::now() - start < options.patience);
    first.thaw();
}

TEST_CASE("without any host a login fails for now and not for good", "[ldap][slapd][directory-sync-12]") {
    if (skipped()) return;
    Slapd slapd("", people);
    LdapAuthenticator authenticator(config({&slapd}), quick());
    CHECK_FALSE(login(authenticator, "juliet", "thorn").is_unreachable);
    slapd.stop();
    const auto answer = login(authenticator, "juliet", "rose");
    CHECK(answer.result == LoginResult::temporary_failure);
    CHECK(answer.is_unreachable);
    slapd.start();
    CHECK(eventually([&] { return login(authenticator, "juliet", "rose").result == LoginResult::ok; }));
}

TEST_CASE("a connection that the server closed is replaced without a failure", "[ldap][slapd]") {
    if (skipped()) return;
    Slapd slapd("", people);
    auto options = quick();
    options.probe_interval = 60s;
    options.search_threads = 1;
    options.bind_threads = 1;
    LdapAuthenticator authenticator(config({&slapd}), options);
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
    slapd.stop();
    slapd.start();
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
    CHECK(authenticator.health()[0].failures == 0);
}

TEST_CASE("a refused service account is tried twice and then left alone",
          "[ldap][slapd][directory-sync-11]") {
    if (skipped()) return;
    Slapd slapd("", people);
    auto with = config({&slapd});
    with.password = "wrong";
    LdapAuthenticator authenticator(with, quick());
    for (int attempt = 0; attempt < 5; ++attempt)
        CHECK(login(authenticator, "juliet", "rose").result == LoginResult::temporary_failure);
    CHECK(authenticator.is_service_account_refused());
    authenticator.reset();
    CHECK_FALSE(authenticator.is_service_account_refused());
}

TEST_CASE("a policy says that an account is locked and a password must be changed",
          "[ldap][slapd][directory-sync-9]") {
    if (skipped()) return;
    Slapd slapd(
        "overlay ppolicy\nppolicy_default cn=policy,dc=test\nppolicy_use_lockout\n",
        people +
            "dn: cn=policy,dc=test\nobjectClass: applicationProcess\nobjectClass: pwdPolicy\ncn: policy\n"
            "pwdAttribute: userPassword\npwdLockout: TRUE\npwdMaxFailure: 3\npwdMustChange: TRUE\n\n");
    LdapAuthenticator authenticator(config({&slapd}), quick());
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::ok);
    for (int attempt = 0; attempt < 3; ++attempt)
        CHECK(login(authenticator, "juliet", "thorn").result == LoginResult::not_authorized);
    // slapd notes the lock by one clock and looks at it by a coarser one, for which it may lie ahead.
    std::this_thread::sleep_for(50ms);
    CHECK(login(authenticator, "juliet", "rose").result == LoginResult::account_disabled);
}

TEST_CASE("a storm of logins waits in line", "[ldap][slapd][directory-sync-9]") {
    if (skipped()) return;
    Slapd slapd("", people);
    auto options = quick();
    options.binds_per_second = 100;
    LdapAuthenticator authenticator(config({&slapd}), options);
    const auto start = SteadyClock::now();
    std::vector<std::promise<LoginAnswer>> promises(60);
    for (auto& promise : promises)
        authenticator.authenticate({"ou=people,dc=test", "", "uid", "juliet", "rose"},
                                   [&promise](LoginAnswer told) { promise.set_value(std::move(told)); });
    for (auto& promise : promises) CHECK(promise.get_future().get().result == LoginResult::ok);
    CHECK(SteadyClock::now() - start > 400ms);
}

TEST_CASE("what still waits is answered at the end", "[ldap][slapd]") {
    if (skipped()) return;
    Slapd slapd("", people);
    slapd.freeze();
    std::atomic<int> answers = 0;
    {
        LdapAuthenticator authenticator(config({&slapd}), quick());
        for (int count = 0; count < 20; ++count)
            authenticator.authenticate({"ou=people,dc=test", "", "uid", "juliet", "rose"},
                                       [&answers](const LoginAnswer& told) {
                                           if (told.result == LoginResult::temporary_failure) ++answers;
                                       });
    }
    CHECK(answers == 20);
    slapd.thaw();
}
