#include "ldap/authenticator.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include <boost/asio.hpp>
#include <ldap.h>

#include "base/log.hpp"
#include "ldap/connection.hpp"
#include "ldap/escape.hpp"

namespace hexad::ldap {

namespace {

struct Job {
    LoginRequest request;
    std::string dn;  ///< set between search and bind
    std::function<void(LoginAnswer)> done;
};

/// Jobs of one pool: bounded, closed once.
class JobQueue {
public:
    explicit JobQueue(std::size_t limit) : limit_(limit) {}

    /// False, and the job untouched, if the queue is full or closed.
    bool push(Job& job) {
        {
            const std::scoped_lock lock(mutex_);
            if (is_closed_ || jobs_.size() >= limit_) return false;
            jobs_.push_back(std::move(job));
        }
        changed_.notify_one();
        return true;
    }

    /// Waits for a job; nothing when the queue is closed.
    std::optional<Job> pop() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return is_closed_ || !jobs_.empty(); });
        if (is_closed_) return std::nullopt;
        Job job = std::move(jobs_.front());
        jobs_.pop_front();
        return job;
    }

    /// Ends all waiting and returns what nobody took.
    std::deque<Job> close() {
        std::deque<Job> left;
        {
            const std::scoped_lock lock(mutex_);
            is_closed_ = true;
            left.swap(jobs_);
        }
        changed_.notify_all();
        return left;
    }

private:
    const std::size_t limit_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Job> jobs_;
    bool is_closed_ = false;
};

LoginAnswer temporary(std::string detail) {
    LoginAnswer answer;
    answer.detail = std::move(detail);
    return answer;
}

LoginAnswer refusal(std::string detail) {
    auto answer = temporary(std::move(detail));
    answer.result = LoginResult::not_authorized;
    return answer;
}

/// A host that says that it is busy has answered.
bool is_no_answer(const Failure& failure) { return failure.is_transport() && failure.code != LDAP_BUSY; }

LoginAnswer failed(const Failure& failure) {
    auto answer = temporary(failure.to_string());
    answer.is_unreachable = is_no_answer(failure);
    return answer;
}

milliseconds since(SteadyClock::time_point start) {
    return std::chrono::duration_cast<milliseconds>(SteadyClock::now() - start);
}

}  // namespace

/// The threads and what they share.
class LdapAuthenticator::Workers {
public:
    Workers(DirectoryConfig config, AuthenticatorOptions options)
        : config_(std::move(config)),
          options_(options),
          hosts_(config_.name, config_.hosts, options.breaker_pause),
          searches_(options.queue_limit),
          binds_(options.queue_limit) {
        config_.connect_timeout = std::min(config_.connect_timeout, options_.patience);
        config_.operation_timeout = options_.patience;
        for (int count = 0; count < options_.search_threads; ++count)
            threads_.emplace_back([this] { run_searches(); });
        for (int count = 0; count < options_.bind_threads; ++count)
            threads_.emplace_back([this] { run_binds(); });
        threads_.emplace_back([this] { run_probes(); });
    }

    ~Workers() {
        auto left = searches_.close();
        for (auto& job : binds_.close()) left.push_back(std::move(job));
        {
            const std::scoped_lock lock(stop_mutex_);
            is_stopping_ = true;
        }
        stopping_.notify_all();
        for (auto& thread : threads_) thread.join();
        for (auto& job : left) job.done(temporary("shutting down"));
    }

    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    void submit(Job job) {
        if (job.request.password.empty()) {
            job.done(refusal("empty password"));
        } else if (!searches_.push(job)) {
            job.done(temporary("too many logins wait"));
        }
    }

    std::vector<HostHealth> health() const { return hosts_.health(); }
    bool is_refused() const { return refusals_ >= max_refusals; }
    void reset() { refusals_ = 0; }

private:
    static constexpr int max_refusals = 2;

    /// A thread's connection to one host at a time.
    struct Link {
        std::optional<LdapConnection> connection;
        std::size_t host = 0;
        bool is_fresh = false;
    };

    /// A connection to `host`: the one there is, or a new one, bound as the service account if asked.
    LdapResult<BindAnswer> ensure(Link& link, std::size_t host, bool as_service) {
        if (link.connection && link.host == host) {
            link.is_fresh = false;
            return BindAnswer{};
        }
        link.connection.reset();
        auto opened = LdapConnection::open(config_, hosts_.host(host));
        if (!opened) return opened.error();
        if (as_service && !config_.bind_dn.empty()) {
            auto bound = opened->bind_service(config_);
            if (!bound) {
                if (!bound.error().is_transport()) refused(bound.error());
                return bound.error();
            }
            refusals_ = 0;
        }
        link.connection = std::move(*opened);
        link.host = host;
        link.is_fresh = true;
        return BindAnswer{};
    }

    void refused(const Failure& failure) {
        log_error("directory_bind_refused", {{"directory", config_.name},
                                             {"bind_dn", config_.bind_dn},
                                             {"error", failure.to_string()},
                                             {"attempt", refusals_ + 1}});
        ++refusals_;
    }

    /// Runs `operation` against the first host that answers. It returns its own result; a transport failure
    /// of it, or of connecting, leads to the next host. A connection that had been idle is given one more
    /// chance: the server may have closed it meanwhile.
    template <class Operation>
    auto on_some_host(Link& link, bool as_service, Operation operation)
        -> decltype(operation(std::declval<LdapConnection&>())) {
        Failure last{LDAP_UNAVAILABLE, "no host answers", {}};
        for (auto host = hosts_.next(0, SteadyClock::now()); host;
             host = hosts_.next(*host + 1, SteadyClock::now())) {
            for (int attempt = 0; attempt < 2; ++attempt) {
                const auto start = SteadyClock::now();
                auto ready = ensure(link, *host, as_service);
                if (!ready) {
                    last = ready.error();
                    if (!last.is_transport())
                        return last;  // the service account: no other host will like it better
                    break;
                }
                auto result = operation(*link.connection);
                if (result || !result.error().is_transport()) {
                    hosts_.succeeded(*host, since(start));
                    return result;
                }
                last = result.error();
                link.connection.reset();
                if (link.is_fresh || last.code == LDAP_TIMEOUT) break;
            }
            hosts_.failed(*host, last.to_string(), SteadyClock::now());
        }
        return last;
    }

    void run_searches() {
        Link link;
        while (auto job = searches_.pop()) {
            if (is_refused()) {
                job->done(temporary("the service account was refused"));
                continue;
            }
            const auto& request = job->request;
            const SearchRequest search{request.base,
                                       Scope::subtree,
                                       filter_for(request.filter, request.attribute, request.name),
                                       {"1.1"},
                                       0,
                                       2};
            auto found = on_some_host(
                link, true, [&search](LdapConnection& connection) { return connection.find(search); });
            if (!found) {
                // More than the limit of two: several hits, like two.
                const bool is_many = found.error().code == LDAP_SIZELIMIT_EXCEEDED;
                if (is_many)
                    job->done(ambiguous(request));
                else if (found.error().code == LDAP_NO_SUCH_OBJECT)
                    job->done(refusal("no such base: " + request.base));
                else
                    job->done(failed(found.error()));
            } else if (found->empty()) {
                job->done(refusal("no such user"));
            } else if (found->size() > 1) {
                job->done(ambiguous(request));
            } else {
                job->dn = found->front().dn;
                if (!binds_.push(*job)) job->done(temporary("too many logins wait"));
            }
        }
    }

    LoginAnswer ambiguous(const LoginRequest& request) const {
        log_warn("directory_name_ambiguous", {{"directory", config_.name}, {"attribute", request.attribute}});
        return refusal("several entries have this name");
    }

    void run_binds() {
        Link link;
        while (auto job = binds_.pop()) {
            wait_for_turn();
            auto bound = on_some_host(link, false, [&job](LdapConnection& connection) {
                return connection.bind(job->dn, job->request.password);
            });
            LoginAnswer answer;
            answer.dn = job->dn;
            if (bound) {
                answer.result = classify_bind(LDAP_SUCCESS, {}, bound->password_policy);
            } else {
                const auto& failure = bound.error();
                answer.result = failure.is_transport() ? LoginResult::temporary_failure
                                                       : classify_bind(failure.code, failure.diagnostic,
                                                                       failure.password_policy);
                answer.detail = failure.to_string();
                answer.is_unreachable = is_no_answer(failure);
            }
            job->done(std::move(answer));
        }
    }

    /// Spaces binds out evenly: a storm waits in line instead of falling on the directory.
    void wait_for_turn() {
        SteadyClock::time_point turn;
        {
            const std::scoped_lock lock(turn_mutex_);
            const auto now = SteadyClock::now();
            const auto step = std::chrono::microseconds(1000000 / std::max(1, options_.binds_per_second));
            // A tenth of a second may be saved up, so that a few logins at once do not wait for each other.
            next_turn_ = std::max(next_turn_ + step, now - std::chrono::milliseconds(100));
            turn = next_turn_;
        }
        std::unique_lock lock(stop_mutex_);
        stopping_.wait_until(lock, turn, [this] { return is_stopping_; });
    }

    void run_probes() {
        std::vector<Link> links(hosts_.size());
        std::unique_lock lock(stop_mutex_);
        while (!stopping_.wait_for(lock, options_.probe_interval, [this] { return is_stopping_; })) {
            lock.unlock();
            for (std::size_t host = 0; host < links.size(); ++host) probe(links[host], host);
            lock.lock();
        }
    }

    void probe(Link& link, std::size_t host) {
        const auto start = SteadyClock::now();
        auto ready = ensure(link, host, false);
        while (ready) {
            auto answer = link.connection->root_dse();
            // Not everybody may read the root DSE: an answer is an answer.
            if (answer || !answer.error().is_transport()) return hosts_.succeeded(host, since(start));
            link.connection.reset();
            // The server may have been started anew since the last probe.
            const bool is_last = link.is_fresh || answer.error().code == LDAP_TIMEOUT;
            ready = is_last ? LdapResult<BindAnswer>(answer.error()) : ensure(link, host, false);
        }
        hosts_.failed(host, ready.error().to_string(), SteadyClock::now());
    }

    DirectoryConfig config_;
    const AuthenticatorOptions options_;
    HostStates hosts_;
    JobQueue searches_;
    JobQueue binds_;
    std::atomic<int> refusals_ = 0;
    std::mutex turn_mutex_;
    SteadyClock::time_point next_turn_{};
    std::mutex stop_mutex_;
    std::condition_variable stopping_;
    bool is_stopping_ = false;
    std::vector<std::thread> threads_;
};

LdapAuthenticator::LdapAuthenticator(DirectoryConfig config, AuthenticatorOptions options)
    : workers_(std::make_unique<Workers>(std::move(config), options)) {}
LdapAuthenticator::~LdapAuthenticator() = default;

void LdapAuthenticator::authenticate(LoginRequest request, std::function<void(LoginAnswer)> done) {
    workers_->submit({std::move(request), {}, std::move(done)});
}

awaitable<LoginAnswer> LdapAuthenticator::authenticate(LoginRequest request) {
    const auto start = [this](auto handler, LoginRequest asked) {
        // The handler can only be moved; a std::function wants to copy.
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        auto executor = asio::get_associated_executor(*shared);
        auto work = asio::make_work_guard(executor);
        authenticate(std::move(asked), [shared, work](LoginAnswer answer) {
            asio::post(work.get_executor(), [shared, told = std::move(answer)]() mutable {
                std::move (*shared)(std::move(told));
            });
        });
    };
    co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(LoginAnswer)>(
        start, asio::use_awaitable, std::move(request));
}

std::vector<HostHealth> LdapAuthenticator::health() const { return workers_->health(); }
bool LdapAuthenticator::is_service_account_refused() const { return workers_->is_refused(); }
void LdapAuthenticator::reset() { workers_->reset(); }

}  // namespace hexad::ldap
