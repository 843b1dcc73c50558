#include "cluster/commit_pipeline.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <catch2/catch.hpp>

using namespace hexad;

namespace {

/// A data base that answers when it is told to; a real one cannot be stopped between two lines.
struct SlowWriter final : StoreWriter {
    void write(std::vector<const Batch*> group,
               std::function<void(std::vector<CommitStatus>)> done) override {
        waiting.emplace_back(group.size(), std::move(done));
    }
    void answers() {
        for (auto& [count, done] : std::exchange(waiting, {}))
            done(std::vector<CommitStatus>(count, CommitStatus::ok));
    }
    std::vector<std::pair<std::size_t, std::function<void(std::vector<CommitStatus>)>>> waiting;
};

/// One message on its way while the data base is away and Redis says that its recipient's route has moved.
struct Refused {
    explicit Refused(bool is_offline) {
        CommitPipeline::Calls calls;
        calls.encode = [](const Batch&, const std::string&) { return std::string(); };
        calls.encode_rows = [](const Batch&) { return std::string("rows"); };
        calls.send = [this](const std::string&, std::function<void(Result<RedisReply>)> done) {
            RedisReply verdict, reply;
            verdict.kind = RedisReply::Kind::text;
            verdict.text = "ROUTE";
            reply.kind = RedisReply::Kind::array;
            reply.items.push_back(verdict);
            asio::post(io, [reply, done = std::move(done)] { done(reply); });
        };
        calls.distrusted = calls.drained = [] {};
        calls.deliver_unlogged = [](const Batch&) { return false; };
        pipeline = std::make_unique<CommitPipeline>(io, writer, Durability::strict, std::move(calls));
        pipeline->open(true);
        Batch batch;
        batch.origin = {"romeo", 1, 0};
        batch.archive.emplace_back().xml = make_bytes("<message/>");
        if (is_offline) batch.offline.emplace_back();
        pipeline->submit(std::move(batch), [this](const CommitOutcome& outcome, Batch&) {
            ++told;
            status = outcome.status;
        });
        io.run();
        pipeline->store_state(false);
        io.restart();
        io.run();
    }
    asio::io_context io;
    SlowWriter writer;
    std::unique_ptr<CommitPipeline> pipeline;
    int told = 0;
    CommitStatus status = CommitStatus::ok;
};

}  // namespace

// Its sender looks for the row before it decides again: a row that came later would be a second delivery.
TEST_CASE("an attempt that put something offline is refused when its row is stored", "[commit]") {
    Refused one(true);
    CHECK(one.told == 0);
    one.writer.answers();
    CHECK(one.told == 1);
    CHECK(one.status == CommitStatus::route_moved);
}

TEST_CASE("an attempt that put nothing offline is refused at once", "[commit]") {
    Refused one(false);
    CHECK(one.told == 1);
    CHECK(one.status == CommitStatus::route_moved);
    one.writer.answers();
    CHECK(one.told == 1);
}
