#include "base/metrics.hpp"

#include <charconv>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace hexad {

struct Metrics::Impl {
    struct Series {
        std::unique_ptr<Counter> counter;
        std::function<double()> read;
    };
    struct Family {
        std::string help;
        bool is_counter = true;
        std::map<std::string, Series, std::less<>> series;  // by labels
    };
    std::mutex mutex;
    std::map<std::string, Family, std::less<>> families;

    Series& series(std::string_view name, std::string_view labels, std::string_view help, bool is_counter) {
        auto& family = families[std::string(name)];
        if (family.help.empty()) {
            family.help = help;
            family.is_counter = is_counter;
        }
        return family.series[std::string(labels)];
    }
};

// Never destroyed: counters are reached by references until the very end of the process.
Metrics::Metrics() : impl_(new Impl) {}

Metrics& Metrics::instance() {
    static auto* metrics = new Metrics;
    return *metrics;
}

Counter& Metrics::counter(std::string_view name, std::string_view labels, std::string_view help) {
    const std::lock_guard lock(impl_->mutex);
    auto& series = impl_->series(name, labels, help, true);
    if (!series.counter) series.counter = std::make_unique<Counter>();
    return *series.counter;
}

void Metrics::gauge(std::string_view name, std::string_view labels, std::string_view help,
                    std::function<double()> read) {
    const std::lock_guard lock(impl_->mutex);
    impl_->series(name, labels, help, false).read = std::move(read);
}

namespace {

void append_number(std::string& out, double value) {
    if (std::isnan(value)) {
        out += "NaN";
    } else if (std::isinf(value)) {
        out += value > 0 ? "+Inf" : "-Inf";
    } else {
        char buffer[32];
        const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
        out.append(buffer, end);
    }
}

void append_escaped_help(std::string& out, std::string_view help) {
    for (const char c : help) {
        if (c == '\\') {
            out += "\\\\";
        } else if (c == '\n') {
            out += "\\n";
        } else {
            out += c;
        }
    }
}

}  // namespace

std::string Metrics::render() const {
    struct Line {
        std::string labels;
        std::uint64_t count;
        std::function<double()> read;
    };
    struct Block {
        std::string name;
        std::string help;
        bool is_counter;
        std::vector<Line> lines;
    };
    // Gauges are read outside the lock: what they call may register a metric itself.
    std::vector<Block> blocks;
    {
        const std::lock_guard lock(impl_->mutex);
        for (const auto& [name, family] : impl_->families) {
            Block block{name, family.help, family.is_counter, {}};
            for (const auto& [labels, series] : family.series)
                block.lines.push_back({labels, series.counter ? series.counter->value() : 0, series.read});
            blocks.push_back(std::move(block));
        }
    }
    std::string out;
    for (const auto& block : blocks) {
        out += "# HELP " + block.name + ' ';
        append_escaped_help(out, block.help);
        out += "\n# TYPE " + block.name + (block.is_counter ? " counter\n" : " gauge\n");
        for (const auto& line : block.lines) {
            out += block.name;
            if (!line.labels.empty()) out += '{' + line.labels + '}';
            out += ' ';
            if (line.read) {
                append_number(out, line.read());
            } else {
                out += std::to_string(line.count);
            }
            out += '\n';
        }
    }
    return out;
}

}  // namespace hexad
