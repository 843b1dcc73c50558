#pragma once

#include "storage/postgres/connection.hpp"

namespace hexad::postgres {

/// BEGIN … COMMIT; undone if it goes without commit().
class Transaction {
public:
    explicit Transaction(Connection& db, std::string_view begin = "BEGIN") : db_(db) { db_.run(begin); }
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    ~Transaction() {
        if (!done_) db_.rollback();
    }
    void commit() {
        db_.commit();
        done_ = true;
    }

private:
    Connection& db_;
    bool done_ = false;
};

}  // namespace hexad::postgres
