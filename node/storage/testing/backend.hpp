#pragma once

#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include "storage/session_log.hpp"
#include "storage/store.hpp"

namespace hexad::testing {

/// A new folder that goes with the object.
class TempDir {
public:
    TempDir() {
        std::string name = (std::filesystem::temp_directory_path() / "hexad-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
        path_ = name;
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

/// Runs the io_context until it has nothing left to do and gives what `what` came to.
template <class T>
T wait_for(asio::io_context& io, awaitable<T> what) {
    auto result = asio::co_spawn(io, std::move(what), asio::use_future);
    io.restart();
    io.run();
    return result.get();
}

/// A fresh data base of one kind behind the interfaces that both kinds have.
class Backend {
public:
    virtual ~Backend() = default;
    virtual Store& store() = 0;
    /// Writes the batches as one group, in order.
    virtual std::vector<CommitStatus> commit(std::vector<Batch> batches) = 0;
    /// Closes the data base and opens it again.
    virtual void reopen() = 0;

    template <class T>
    T operator()(awaitable<T> what) {
        return wait_for(io, std::move(what));
    }
    CommitStatus commit(Batch batch) {
        std::vector<Batch> one;
        one.push_back(std::move(batch));
        return commit(std::move(one)).front();
    }

    asio::io_context io;
};

struct BackendKind {
    std::string name;
    std::function<std::unique_ptr<Backend>()> make;
};
/// Every back end that the contract holds for.
const std::vector<BackendKind>& backend_kinds();

/// The value of a result whose error cannot be thrown.
template <class Result>
auto must(Result result) {
    if (!result) throw std::runtime_error("an error where a value was expected");
    return std::move(*result);
}

inline Jid jid(std::string_view text) { return *Jid::parse(text); }
inline Timestamp at(std::int64_t s) { return Timestamp(std::chrono::seconds(1'700'000'000 + s)); }

inline AccountId add_account(Backend& backend, std::string_view bare) {
    AccountRow row;
    row.jid = jid(bare);
    return backend(backend.store().create_account(row, {})).value();
}

inline ArchiveRow archived(AccountId owner, const std::string& id, std::string_view with, std::int64_t s) {
    ArchiveRow row;
    row.owner = owner;
    row.stanza_id = id;
    row.with = jid(with);
    row.at = at(s);
    row.xml = make_bytes("<message id='" + id + "'><body>" + id + "</body></message>");
    return row;
}

}  // namespace hexad::testing
