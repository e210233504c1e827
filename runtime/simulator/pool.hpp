// A second thread (or more) for large matrix products.
#pragma once

#include <cstdint>

namespace girih {

using ChunkFunction = void (*)(const void* context, std::uint32_t chunk);

// Calls function(context, 0 .. chunks - 1), each once, on this thread and on up to threads - 1
// others, and returns when all are done. Which thread does which chunk is not fixed, so chunks must
// be independent. Threads are started when first needed, and again in a forked child. When another
// call is in progress, this thread does all the work.
void run_chunks(std::uint32_t threads, std::uint32_t chunks, ChunkFunction function,
                const void* context);

}  // namespace girih
