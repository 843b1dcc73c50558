// What becomes of a room when its partition moves (docs/redundancy-groups.md), without a cluster.
#include <catch2/catch.hpp>

#include "hooks/module.hpp"
#include "muc/muc_module.hpp"
#include "storage/sqlite/engine.hpp"
#include "storage/testing/backend.hpp"
#include "xmpp/namespaces.hpp"

using namespace hexad;
using hexad::testing::jid;
using hexad::testing::wait_for;

namespace {

/// Sessions and rooms as a state store has them; what is asked before it is `up` gets no answer.
struct FakeLog final : SessionLog {
    template <class T>
    awaitable<Result<T>> tell(T value) {
        if (!up) co_return StorageError::unavailable;
        co_return value;
    }
    awaitable<Result<std::vector<SessionRecord>>> load_sessions() override {
        return tell(std::vector<SessionRecord>{});
    }
    awaitable<Result<ClaimedSession, ClaimRefusal>> claim(std::string, AccountId, std::string) override {
        co_return ClaimRefusal::unknown;
    }
    awaitable<Result<bool>> settle(std::string, Epoch, std::uint32_t) override { return tell(true); }
    awaitable<Result<bool>> number(std::string, Epoch, std::vector<Number>) override { return tell(true); }
    void ack(std::string, Epoch, std::uint64_t) override {}
    awaitable<Result<Filled>> fill(std::string, Epoch) override { return tell(Filled{}); }
    awaitable<Result<Ended>> end(std::string, Epoch, Batch) override { return tell(Ended{}); }
    awaitable<Result<std::optional<SessionTomb>>> tomb(std::string) override {
        return tell(std::optional<SessionTomb>{});
    }
    awaitable<Result<std::vector<RoomEntry>>> room_inbox(Jid, std::uint64_t position, std::size_t) override {
        std::vector<RoomEntry> out;
        for (const auto& entry : inbox) {
            if (entry.position > position) out.push_back(entry);
        }
        return tell(out);
    }
    using SessionLog::room_state;
    awaitable<Result<RoomState>> room_state(Jid, RoomHome) override {
        ++loads;
        return tell(state);
    }
    awaitable<Result<bool>> move_room(Jid, RoomHome home, std::optional<std::uint64_t> position) override {
        moves.push_back({home, position});
        return tell(true);
    }
    awaitable<Result<bool>> hold_room(Jid) override {
        ++holds;
        return tell(true);
    }
    awaitable<Result<std::vector<std::string>>> missing_sessions(std::vector<std::string> sids) override {
        std::erase_if(sids, [this](const auto& sid) { return living.contains(sid); });
        return tell(sids);
    }
    awaitable<Result<std::vector<Jid>>> active_rooms() override { return tell(std::vector<Jid>{}); }

    bool up = true;
    int loads = 0, holds = 0;
    struct Told {
        RoomHome home;
        std::optional<std::uint64_t> position;
    };
    std::vector<Told> moves;
    RoomState state;
    std::vector<RoomEntry> inbox;
    std::set<std::string> living;
};

/// One node as its rooms see it.
struct Node final : ClusterView {
    Node() : rows(SqliteEngine::open(context, ":memory:").value()), cache(rows->store(), 100) {}

    RouteTable& routes() override { return table; }
    AccountCache& accounts() override { return cache; }
    Store& store() override { return rows->store(); }
    SessionLog& session_log() override { return log; }
    bool is_local_host(std::string_view domain) const override { return domain == "montague.lit"; }
    std::string host_of_service(std::string_view domain, std::string& label) const override {
        if (domain != "rooms.montague.lit") return {};
        label = "rooms";
        return "montague.lit";
    }
    const std::vector<std::string>& hosts() const override { return names; }
    void submit(Batch batch) override { submit(std::move(batch), nullptr); }
    void submit(Batch batch, std::function<void(bool)> done) override {
        submitted.push_back(std::move(batch));
        if (!done) return;
        commits ? done(true) : waiting.push_back(std::move(done));
    }
    const std::string& node_name() const override { return name; }
    asio::io_context& io() override { return context; }
    void route_from_service(const Element&, const Jid&, const Jid&, Batch&) override {}
    void learn_room_home(const Jid&, const std::string&) override {}
    void change_account(AccountData&, AccountChange, Batch&) override {}

    /// What waited becomes safe.
    void finishes() {
        for (auto& done : std::exchange(waiting, {})) done(true);
    }
    /// Inputs that rooms of this node wrote for a room.
    std::vector<RoomInput> inputs(std::string_view source) const {
        std::vector<RoomInput> out;
        for (const auto& batch : submitted) {
            for (const auto& input : batch.room_inputs) {
                if (input.origin.source.starts_with(source)) out.push_back(input);
            }
        }
        return out;
    }

    asio::io_context context;
    std::unique_ptr<SqliteEngine> rows;
    RouteTable table;
    AccountCache cache;
    FakeLog log;
    std::vector<std::string> names{"montague.lit"};
    std::string name = "n1";
    bool commits = true;  ///< else nothing becomes safe
    std::vector<Batch> submitted;
    std::vector<std::function<void(bool)>> waiting;
};

const Jid hall = jid("hall@rooms.montague.lit");

struct World {
    World() : context(hooks, node, options), muc(context) { muc.follow_partitions(); }

    void make_room(const std::string& home) {
        muc::RoomConfig config;
        config.persistent = true;
        config.locked = false;
        wait_for(node.context, node.store().create_room(hall, home, config.encode())).value();
    }
    void runs_for(milliseconds time) {
        node.context.restart();
        node.context.run_for(time);
    }
    /// At this position of the inbox.
    void arrives(std::uint64_t position, const std::string& xml) {
        RoomInput input;
        input.room = hall;
        input.origin = {"sid-romeo", position, 0};
        input.sid = "sid-romeo";
        input.from = jid("romeo@montague.lit/orchard");
        input.xml = make_bytes(xml);
        node.log.inbox.push_back({position, input});
        RoomInputArrived event{input, position};
        hooks.run(event);
    }
    void enters(std::uint64_t position) {
        arrives(position,
                "<presence to='hall@rooms.montague.lit/romeo'><x "
                "xmlns='http://jabber.org/protocol/muc'/></presence>");
    }
    void says(std::uint64_t position) {
        arrives(position,
                "<message type='groupchat' to='hall@rooms.montague.lit' id='m'><body>Ay me</body></message>");
    }
    void leaves(std::uint64_t position) {
        arrives(position, "<presence type='unavailable' to='hall@rooms.montague.lit/romeo'/>");
    }
    std::vector<CarriedRoom> carried() {
        std::vector<CarriedRoom> rooms;
        RoomsCarried event{rooms};
        hooks.run(event);
        return rooms;
    }

    Node node;
    Hooks hooks;
    ModuleOptions options;
    ModuleContext context;
    MucModule muc;
};

}  // namespace

TEST_CASE("a node that is handed what is for a room elsewhere gives it on, once", "[muc][cluster]") {
    World w;
    w.make_room("n2");
    w.muc.partition_moved("n1", true);
    w.enters(1);
    w.runs_for(milliseconds(1500));
    CHECK(w.muc.rooms_in_memory() == 0);
    CHECK(w.node.inputs("poke:").size() == 1);
    CHECK(w.node.log.loads == 0);
}

TEST_CASE("what the room's node has used up by itself is not given on", "[muc][cluster]") {
    World w;
    w.make_room("n2");
    w.enters(1);
    w.node.log.inbox.clear();
    w.runs_for(milliseconds(800));
    CHECK(w.muc.rooms_in_memory() == 0);
    CHECK(w.node.inputs("poke:").empty());
}

TEST_CASE("a room whose partition comes here meanwhile is not given on", "[muc][cluster]") {
    World w;
    w.make_room("n2");
    w.enters(1);
    w.runs_for(milliseconds(100));
    w.muc.partition_moved("n2", true);
    w.runs_for(milliseconds(800));
    CHECK(w.muc.rooms_in_memory() == 1);
    CHECK(w.node.inputs("poke:").empty());
    CHECK(w.node.log.loads == 1);
}

TEST_CASE("a session that this node has not heard of is not put out of the rooms it takes over",
          "[muc][cluster]") {
    World w;
    w.make_room("n1");
    w.muc.partition_moved("n1", true);
    for (const std::string sid : {"new", "gone"}) {
        OccupantPut put;
        put.room = hall;
        put.sid = sid;
        put.bytes = "<occupant xmlns='hexad:room' v='1' nick='" + sid +
                    "' role='participant' jid='romeo@montague.lit/" + sid +
                    "'><presence xmlns='jabber:client'/></occupant>";
        w.node.log.state.occupants.push_back(put);
    }
    // Bound, or claimed by another node, a moment ago: its route is on the way here.
    w.node.log.living = {"new"};
    w.node.log.up = false;
    w.enters(1);
    w.runs_for(milliseconds(300));
    CHECK(w.node.inputs("gone:").empty());
    w.node.log.up = true;
    w.runs_for(milliseconds(800));
    const auto gone = w.node.inputs("gone:");
    REQUIRE(gone.size() == 1);
    CHECK(gone[0].sid == "gone");
}

namespace {

/// A room of this node with one occupant, whose message has not become safe.
struct Speaking : World {
    Speaking() {
        make_room("n1");
        muc.partition_moved("n1", true);
        OccupantPut put;
        put.room = hall;
        put.sid = "sid-romeo";
        put.bytes =
            "<occupant xmlns='hexad:room' v='1' nick='romeo' role='participant' "
            "jid='romeo@montague.lit/orchard'>"
            "<presence xmlns='jabber:client'/></occupant>";
        node.log.state.position = 4;
        node.log.state.occupants.push_back(put);
        node.log.living = {"sid-romeo"};
        node.commits = false;
        says(5);
        runs_for(milliseconds(300));
        REQUIRE(carried().size() == 1);
    }
};

}  // namespace

TEST_CASE("what a node had of a room that has moved is given back until the next node has it",
          "[muc][cluster]") {
    Speaking w;
    CHECK(w.node.log.holds == 1);
    w.muc.partition_moved("n1", false);
    CHECK(w.muc.rooms_in_memory() == 0);
    auto rooms = w.carried();
    REQUIRE(rooms.size() == 1);
    CHECK(rooms[0].former);
    CHECK(rooms[0].position == 4);
    REQUIRE(rooms[0].inputs.size() == 1);
    CHECK(rooms[0].inputs[0].first == 5);
    REQUIRE(rooms[0].occupants.size() == 1);
    CHECK(rooms[0].occupants[0].sid == "sid-romeo");
    RoomHeldElsewhere event{hall};
    w.hooks.run(event);
    CHECK(w.carried().empty());
}

TEST_CASE("what a node had of a room goes when the room is here again", "[muc][cluster]") {
    Speaking w;
    w.muc.partition_moved("n1", false);
    w.muc.partition_moved("n1", true);
    w.says(6);
    w.runs_for(milliseconds(300));
    const auto rooms = w.carried();
    REQUIRE(rooms.size() == 1);
    CHECK_FALSE(rooms[0].former);
}

TEST_CASE("a node that missed a recovery gives nothing back", "[muc][cluster]") {
    Speaking w;
    w.muc.partition_moved("n1", false);
    RoomsFenced event;
    w.hooks.run(event);
    CHECK(w.carried().empty());
}

TEST_CASE("occupants are given back as they are at the position that is given back", "[muc][cluster]") {
    Speaking w;
    w.leaves(6);
    w.runs_for(milliseconds(300));
    const auto rooms = w.carried();
    REQUIRE(rooms.size() == 1);
    CHECK(rooms[0].position == 4);
    CHECK(rooms[0].occupants.size() == 1);
    CHECK(rooms[0].inputs.size() == 2);
}

TEST_CASE("a room is given away at the position that is safe, and nothing is decided after that",
          "[muc][cluster]") {
    Speaking w;
    w.node.commits = true;
    w.node.finishes();
    w.runs_for(milliseconds(50));
    const auto why = wait_for(w.node.context, w.muc.move_room(hall, "n2", 0));
    CHECK(why == "");
    REQUIRE(w.node.log.moves.size() == 1);
    CHECK(w.node.log.moves[0].home.node == "n2");
    CHECK(w.node.log.moves[0].home.epoch == 2);
    CHECK(w.node.log.moves[0].position == 5);
    CHECK(w.muc.rooms_in_memory() == 0);
    // Until n2 has it, it is given back from here, at its new home.
    REQUIRE(w.carried().size() == 1);
    CHECK(w.carried()[0].former);
    CHECK(w.carried()[0].home.node == "n2");
    const auto row = wait_for(w.node.context, w.node.store().load_room(hall)).value();
    CHECK(row->home_node == "n2");
    CHECK(row->moves_from == "n1");
    // What was announced here before is n2's.
    const auto steps = w.node.submitted.size();
    w.says(6);
    w.runs_for(milliseconds(500));
    CHECK(w.muc.rooms_in_memory() == 0);
    CHECK(std::none_of(w.node.submitted.begin() + static_cast<std::ptrdiff_t>(steps), w.node.submitted.end(),
                       [](const Batch& b) { return b.room_step; }));
}

TEST_CASE("a room whose steps do not become safe is not moved, and goes on", "[muc][cluster]") {
    Speaking w;
    const auto why = wait_for(w.node.context, w.muc.move_room(hall, "n2", 0));
    CHECK_THAT(why, Catch::Contains("does not become safe"));
    CHECK(w.node.log.moves.empty());
    CHECK(wait_for(w.node.context, w.node.store().load_room(hall)).value()->home_node == "n1");
    w.node.commits = true;
    w.node.finishes();
    const auto before = w.node.submitted.size();
    w.says(6);
    w.runs_for(milliseconds(300));
    CHECK(w.node.submitted.size() == before + 1);
}

TEST_CASE("a room comes to its new home, and its move ends there", "[muc][cluster]") {
    World w;
    w.make_room("n2");
    w.muc.partition_moved("n1", true);
    RoomMove wanted;
    wanted.room = wait_for(w.node.context, w.node.store().load_room(hall)).value()->id;
    wanted.epoch = 1;
    wanted.to = "n1";
    REQUIRE(wait_for(w.node.context, w.node.store().move_room(wanted)).value().refused.empty());
    std::vector<RoomMove> ended;
    w.muc.on_room_moved = [&ended](const RoomMove& move) { ended.push_back(move); };
    const std::string home = "n1";
    RoomHomeMoved event{hall, home};
    w.hooks.run(event);
    w.runs_for(milliseconds(500));
    REQUIRE(ended.size() == 1);
    CHECK(ended[0].from == "n2");
    CHECK(wait_for(w.node.context, w.node.store().load_room(hall)).value()->moves_from.empty());
}

TEST_CASE("a node that had a room forgets it when its home is another one", "[muc][cluster]") {
    Speaking w;
    const std::string home = "n2";
    RoomHomeMoved event{hall, home};
    w.hooks.run(event);
    CHECK(w.muc.rooms_in_memory() == 0);
    REQUIRE(w.carried().size() == 1);
    CHECK(w.carried()[0].former);
}

TEST_CASE("a room is not moved before all its rows are in the store", "[muc][cluster]") {
    Speaking w;
    w.node.commits = true;
    w.node.finishes();
    bool waits = true;
    w.muc.rows_wait = [&waits] { return waits; };
    CHECK_THAT(wait_for(w.node.context, w.muc.move_room(hall, "n2", 0)),
               Catch::Contains("does not become safe"));
    waits = false;
    CHECK(wait_for(w.node.context, w.muc.move_room(hall, "n2", 0)) == "");
}
