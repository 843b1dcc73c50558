#include <ostream>
#include <stdexcept>

#include "storage/open_failure.hpp"
#include "storage/store.hpp"

namespace hexad {
namespace {

class Category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "storage"; }
    std::string message(int value) const override {
        switch (static_cast<StorageError>(value)) {
            case StorageError::unavailable:
                return "the data base does not answer";
            case StorageError::corrupt:
                return "what was read cannot be what was written";
            case StorageError::conflict:
                return "the name is taken, or what the change was decided on has moved";
            case StorageError::schema:
                return "the schema does not fit this version";
            case StorageError::fenced:
                return "a newer owner was here";
        }
        return "unknown";
    }
};

}  // namespace

error_code make_error_code(StorageError e) {
    static const Category category;
    return {static_cast<int>(e), category};
}

std::ostream& operator<<(std::ostream& out, const OpenFailure& failure) { return out << failure.text; }

void throw_exception_from_error(const OpenFailure& failure, const boost::source_location&) {
    throw std::runtime_error(failure.text);
}

}  // namespace hexad
