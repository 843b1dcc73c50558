#include "routing/admission.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace hexad {

namespace {

/// Streams are let in in small groups: a timer for each would cost more than it spreads.
constexpr milliseconds least_pause{5};
/// A stream that has not authenticated by then does not count as one that is about to.
constexpr seconds slow_passage{10};

constexpr std::array<Entry, 3> entries{Entry::authentication, Entry::login, Entry::resumption};

std::string label_of(Entry entry) {
    const auto* name = entry == Entry::authentication ? "authentication"
                       : entry == Entry::login        ? "login"
                                                      : "resumption";
    return "entry=\"" + std::string(name) + '"';
}
double pace_of(Entry entry, const AdmissionConfig& config) {
    const double logins = config.logins, resumptions = config.resumptions;
    return entry == Entry::login ? logins : entry == Entry::resumption ? resumptions : logins + resumptions;
}
std::int64_t second_of(SteadyClock::time_point now) {
    return std::chrono::duration_cast<seconds>(now.time_since_epoch()).count();
}

}  // namespace

struct Admission::Waiting {
    explicit Waiting(asio::io_context& io) : timer(io, SteadyClock::time_point::max()) {}
    asio::steady_timer timer;
    std::function<bool()> gone;
    std::optional<AdmissionLine::Call> called;
};

struct Admission::Line {
    explicit Line(double per_second) : order(per_second) {}
    AdmissionLine order;
    std::map<AdmissionLine::Ticket, Waiting*> waiting;
    Counts counts;
    Counter* refused = nullptr;
};

struct Admission::UnderWay {
    std::map<std::uint64_t, SteadyClock::time_point> since;  ///< by number, and so by time
    std::uint64_t last = 0;
};

Admission::Admission(asio::io_context& io, AdmissionConfig config)
    : io_(io), config_(config), under_way_(std::make_shared<UnderWay>()), timer_(io) {
    auto& metrics = Metrics::instance();
    for (const auto entry : entries) {
        auto fresh = std::make_shared<Line>(pace_of(entry, config_));
        fresh->refused = &metrics.counter("hexad_admission_refused_total", label_of(entry),
                                          "Streams that waited too long after the loss of a node");
        metrics.gauge("hexad_admission_waiting", label_of(entry),
                      "Streams that wait to be let in after the loss of a node",
                      [line = fresh.get()] { return double(line->order.size()); });
        lines_[static_cast<std::size_t>(entry)] = std::move(fresh);
    }
    metrics.gauge("hexad_admission_in_force", "", "1 while clients are let in at a bounded pace",
                  [this] { return in_force() ? 1.0 : 0.0; });
}

Admission::~Admission() = default;

Admission::Passage Admission::passage() {
    const auto number = ++under_way_->last;
    under_way_->since[number] = SteadyClock::now();
    return {nullptr, [all = under_way_, number](void*) { all->since.erase(number); }};
}

std::size_t Admission::places(SteadyClock::time_point now) {
    auto& since = under_way_->since;
    while (!since.empty() && now - since.begin()->second > slow_passage) since.erase(since.begin());
    // A fifth of a second's worth: what else the node has to do, such as renewing its lease, comes in
    // between.
    const std::size_t most = std::max<std::size_t>(4, (config_.logins + config_.resumptions) / 5);
    return most - std::min(most, since.size());
}

void Admission::holds_for(milliseconds time) { until_ = std::max(until_, SteadyClock::now() + time); }

bool Admission::in_force() const { return SteadyClock::now() < until_ || waiting() > 0; }

std::size_t Admission::waiting() const {
    std::size_t out = 0;
    for (const auto& one : lines_) out += one->order.size();
    return out;
}

std::uint64_t Admission::refused() const {
    std::uint64_t out = 0;
    for (const auto& one : lines_) out += one->counts.refused;
    return out;
}

const Admission::Counts& Admission::counts(Entry entry) const { return line(entry).counts; }

void Admission::entered(Entry entry) {
    ++line(entry).counts.entered;
    if (entry == Entry::authentication) return;
    const auto now = second_of(SteadyClock::now());
    auto& slot = lately_[static_cast<std::size_t>(now) % lately_.size()];
    if (slot.second != now) slot = {now, 0};
    ++slot.count;
}

double Admission::entering() const {
    const auto now = second_of(SteadyClock::now());
    std::uint64_t sum = 0;
    for (const auto& one : lately_) {
        if (one.second < now && one.second >= now - 10) sum += one.count;  // whole seconds only
    }
    return static_cast<double>(sum) / 10;
}

awaitable<Admission::Answer> Admission::ask(Entry entry, milliseconds waited_before,
                                            std::function<bool()> gone) {
    const auto here = lines_[static_cast<std::size_t>(entry)];
    const auto now = SteadyClock::now();
    const bool place = entry != Entry::authentication || places(now) > 0;
    if (!in_force() || (place && here->order.passes(now))) {
        entered(entry);
        co_return Answer::enter;
    }
    Waiting waiting(io_);
    waiting.gone = std::move(gone);
    /// The stream may end while it waits: then it takes itself out of the line.
    struct Place {
        std::shared_ptr<Line> line;
        AdmissionLine::Ticket ticket;
        ~Place() {
            line->order.leave(ticket);
            line->waiting.erase(ticket);
        }
    };
    const Place standing{here,
                         here->order.stand(now + std::max(milliseconds(0), config_.wait - waited_before))};
    here->waiting[standing.ticket] = &waiting;
    look_later();
    while (!waiting.called) co_await waiting.timer.async_wait(asio::as_tuple(asio::use_awaitable));
    switch (*waiting.called) {
        case AdmissionLine::Call::enters:
            entered(entry);
            co_return Answer::enter;
        case AdmissionLine::Call::too_long:
            ++here->counts.refused;
            here->refused->add();
            co_return Answer::refuse;
        case AdmissionLine::Call::gone:
            break;
    }
    ++here->counts.gone;
    co_return Answer::gone;
}

void Admission::look() {
    look_at_ = SteadyClock::time_point::max();
    const auto now = SteadyClock::now();
    for (const auto& one : lines_) {
        const auto is_gone = [&one](AdmissionLine::Ticket ticket) { return one->waiting.at(ticket)->gone(); };
        const auto most = one == lines_[0] ? places(now) : std::numeric_limits<std::size_t>::max();
        for (const auto& [ticket, call] : one->order.call(now, is_gone, most)) {
            auto& waiting = *one->waiting.at(ticket);
            waiting.called = call;
            waiting.timer.cancel();
        }
    }
    look_later();
}

void Admission::look_later() {
    const auto now = SteadyClock::now();
    auto next = SteadyClock::time_point::max();
    for (const auto& one : lines_) next = std::min(next, one->order.next_look(now));
    if (next == SteadyClock::time_point::max()) return;
    next = std::max(next, now + (places(now) > 0 ? least_pause : 4 * least_pause));
    if (look_at_ <= next) return;  // a look is due anyway
    look_at_ = next;
    timer_.expires_at(next);
    timer_.async_wait([this](error_code error) {
        if (!error) look();
    });
}

}  // namespace hexad
