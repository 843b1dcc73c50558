#include <stdexcept>

#include "storage/postgres/store.hpp"
#include "storage/sqlite/engine.hpp"
#include "storage/testing/backend.hpp"
#include "storage/testing/postgres_server.hpp"

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

class PostgresBackend final : public Backend {
public:
    PostgresBackend() : conninfo_(PostgresServer::shared().create_database()) { reopen(); }
    Store& store() override { return store_->store(); }
    std::vector<CommitStatus> commit(std::vector<Batch> batches) override {
        std::vector<const Batch*> group;
        for (const auto& batch : batches) group.push_back(&batch);
        std::vector<CommitStatus> out;
        store_->writer().write(std::move(group), [&out](std::vector<CommitStatus> s) { out = std::move(s); });
        io.restart();
        io.run();
        return out;
    }
    void reopen() override {
        store_.reset();
        store_ = PostgresStore::open(io, conninfo_).value();
    }

private:
    std::string conninfo_;
    std::unique_ptr<PostgresStore> store_;
};

}  // namespace

const std::vector<BackendKind>& backend_kinds() {
    static const std::vector<BackendKind> kinds{
        {"sqlite", [] { return std::make_unique<SqliteBackend>(false); }},
        {"sqlite in memory", [] { return std::make_unique<SqliteBackend>(true); }},
        {"postgres", [] { return std::make_unique<PostgresBackend>(); }},
    };
    return kinds;
}

}  // namespace hexad::testing
