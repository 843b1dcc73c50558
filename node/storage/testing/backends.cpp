#include <stdexcept>

#include "storage/sqlite/engine.hpp"
#include "storage/testing/backend.hpp"

namespace hexad::testing {
namespace {

class SqliteBackend final : public Backend {
public:
    explicit SqliteBackend(bool memory) : path_(memory ? ":memory:" : (dir_.path() / "hexad.db").string()) {
        reopen();
    }
    Store& store() override { return engine_->store(); }
    std::vector<CommitStatus> commit(std::vector<Batch> batches) override {
        std::vector<CommitStatus> out;
        for (auto& batch : batches) {
            engine_->committer().submit(std::move(batch), [&out](const CommitOutcome& outcome, Batch&) {
                out.push_back(outcome.status);
            });
        }
        io.restart();
        io.run();
        return out;
    }
    void reopen() override {
        if (engine_ && path_ == ":memory:") return;  // nothing would be left
        engine_.reset();
        engine_ = SqliteEngine::open(io, path_).value();
    }

private:
    TempDir dir_;
    std::string path_;
    std::unique_ptr<SqliteEngine> engine_;
};

}  // namespace

const std::vector<BackendKind>& backend_kinds() {
    static const std::vector<BackendKind> kinds{
        {"sqlite", [] { return std::make_unique<SqliteBackend>(false); }},
        {"sqlite in memory", [] { return std::make_unique<SqliteBackend>(true); }},
    };
    return kinds;
}

}  // namespace hexad::testing
