#include "xml/parser_memory.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <vector>

namespace hexad {

namespace {

#ifdef HEXAD_PARSER_ON_HEAP
constexpr bool apart = false;  // the sanitizer sees every block for itself
#else
constexpr bool apart = true;
#endif

/// A parser with the names of an ordinary stream uses some 13 KiB; untouched pages cost nothing.
constexpr std::size_t place_size = std::size_t{32} << 10U;
constexpr std::size_t places_at_once = 64;
/// So many that were given back keep their pages: streams that come and go use them at once.
constexpr std::size_t most_warm = 16;

class Places {
public:
    std::byte* take() {
        const std::scoped_lock lock(mutex_);
        if (warm_.empty() && cold_.empty()) grow();
        auto& from = warm_.empty() ? cold_ : warm_;
        if (from.empty()) return nullptr;
        auto* place = from.back();
        from.pop_back();
        return place;
    }
    void give_back(std::byte* place) {
        const std::scoped_lock lock(mutex_);
        if (warm_.size() < most_warm) {
            warm_.push_back(place);
            return;
        }
        ::madvise(place, place_size, MADV_DONTNEED);
        cold_.push_back(place);
    }

private:
    void grow() {
        constexpr auto size = place_size * places_at_once;
        void* found =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (found == MAP_FAILED) return;
        ::madvise(found, size, MADV_NOHUGEPAGE);  // or the first parser would take two megabytes
        auto* first = static_cast<std::byte*>(found);
        for (std::size_t n = places_at_once; n > 0; --n) cold_.push_back(first + (n - 1) * place_size);
    }

    std::mutex mutex_;
    std::vector<std::byte*> warm_, cold_;
};

/// Lives as long as the process: a thread's own parser may end after everything else.
Places& places() {
    static auto* all = new Places;
    return *all;
}

struct Header {
    std::size_t size;
    ParserMemory* owner;  ///< null: the heap
};
static_assert(sizeof(Header) == alignof(std::max_align_t));

Header& header_of(void* block) { return static_cast<Header*>(block)[-1]; }

constexpr std::size_t rounded(std::size_t size) {
    constexpr auto unit = alignof(std::max_align_t);
    return (size + unit - 1) / unit * unit;
}

thread_local ParserMemory* in_use = nullptr;

}  // namespace

ParserMemory::~ParserMemory() { release(); }

ParserMemory::Use::Use(ParserMemory& memory) : before_(in_use) { in_use = &memory; }
ParserMemory::Use::~Use() { in_use = before_; }

const XML_Memory_Handling_Suite& ParserMemory::suite() {
    static const XML_Memory_Handling_Suite own{&allocate, &reallocate, &free};
    return own;
}

void ParserMemory::release() {
    if (place_ != nullptr) places().give_back(place_);
    place_ = nullptr;
    used_ = 0;
}

void* ParserMemory::take(std::size_t size) {
    if (place_ == nullptr) place_ = places().take();
    const auto whole = sizeof(Header) + rounded(size);
    if (place_ == nullptr || size > place_size || whole > place_size - used_) return nullptr;
    auto* header = reinterpret_cast<Header*>(place_ + used_);
    used_ += whole;
    *header = {size, this};
    return header + 1;
}

void* ParserMemory::allocate(std::size_t size) {
    if (apart && in_use != nullptr) {
        if (auto* block = in_use->take(size)) return block;
    }
    if (size > SIZE_MAX - sizeof(Header)) return nullptr;
    auto* header = static_cast<Header*>(std::malloc(sizeof(Header) + size));
    if (header == nullptr) return nullptr;
    *header = {size, nullptr};
    return header + 1;
}

void* ParserMemory::reallocate(void* block, std::size_t size) {
    if (block == nullptr) return allocate(size);
    auto& header = header_of(block);
    if (header.owner == nullptr) {
        if (size > SIZE_MAX - sizeof(Header)) return nullptr;
        auto* moved = static_cast<Header*>(std::realloc(&header, sizeof(Header) + size));
        if (moved == nullptr) return nullptr;
        moved->size = size;
        return moved + 1;
    }
    if (size <= header.size) return block;
    auto* moved = allocate(size);
    if (moved == nullptr) return nullptr;
    std::memcpy(moved, block, header.size);
    free(block);
    return moved;
}

void ParserMemory::free(void* block) {
    if (block == nullptr) return;
    auto& header = header_of(block);
    if (header.owner == nullptr) {
        std::free(&header);
        return;
    }
    // Only the last block's space is used again; expat keeps most of what it has.
    auto& memory = *header.owner;
    const auto at = static_cast<std::size_t>(reinterpret_cast<std::byte*>(&header) - memory.place_);
    if (at + sizeof(Header) + rounded(header.size) == memory.used_) memory.used_ = at;
}

}  // namespace hexad
