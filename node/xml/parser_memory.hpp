#pragma once

#include <cstddef>

#include <expat.h>

namespace hexad {

/// The memory of one expat parser, apart from the heap: a stream that gives its parser back gives whole pages
/// back, however many others go on. (On the heap its pieces lie between those of the session, and no page is
/// ever free.) A parser that needs more than its place takes the rest from the heap.
///
/// For one thread at a time; every call into expat that may allocate or free stands inside a `Use`.
class ParserMemory {
public:
    ParserMemory() = default;
    ~ParserMemory();
    ParserMemory(const ParserMemory&) = delete;
    ParserMemory& operator=(const ParserMemory&) = delete;

    /// Expat allocates from this memory while it lives. They nest.
    class Use {
    public:
        explicit Use(ParserMemory& memory);
        ~Use();
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;

    private:
        ParserMemory* before_;
    };

    /// For XML_ParserCreate_MM.
    static const XML_Memory_Handling_Suite& suite();
    /// After XML_ParserFree: the pages go back.
    void release();

private:
    static void* allocate(std::size_t size);
    static void* reallocate(void* block, std::size_t size);
    static void free(void* block);
    void* take(std::size_t size);

    std::byte* place_ = nullptr;
    std::size_t used_ = 0;
};

}  // namespace hexad
