#include "pool.hpp"

#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

namespace girih {

namespace {

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// One job at a time. `ticket_` holds the job's generation (upper half), its number of chunks and
// the next chunk (16 bits each) in one word, so that whoever takes a chunk knows which job it is of;
// a job is replaced only when all its chunks are done.
class Pool {
 public:
  void run(std::uint32_t threads, std::uint32_t chunks, ChunkFunction function,
           const void* context) {
    while (started_ + 1 < threads) {
      std::thread([this] { work(); }).detach();
      ++started_;
    }
    function_ = function;
    context_ = context;
    done_.store(0, std::memory_order_relaxed);
    const std::uint32_t generation = generation_.load(std::memory_order_relaxed) + 1;
    ticket_.store((std::uint64_t{generation} << 32) | (std::uint64_t{chunks} << 16),
                  std::memory_order_release);
    generation_.store(generation, std::memory_order_release);
    generation_.notify_all();
    take_chunks();
    std::uint32_t spins = 0;
    while (done_.load(std::memory_order_acquire) != chunks) {
      // The other thread holds the last chunk; it may have lost its core.
      if (++spins % 1024 == 0) {
        std::this_thread::yield();
      } else {
        pause_briefly();
      }
    }
  }

 private:
  static std::uint32_t chunks_of(std::uint64_t ticket) { return (ticket >> 16) & 0xFFFF; }
  static std::uint32_t next_of(std::uint64_t ticket) { return ticket & 0xFFFF; }

  void take_chunks() {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while (next_of(ticket) < chunks_of(ticket)) {
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      function_(context_, next_of(ticket));
      done_.fetch_add(1, std::memory_order_release);
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  [[noreturn]] void work() {
    std::uint32_t seen = 0;
    while (true) {
      // Products follow each other closely: look for a while before sleeping.
      for (int spin = 0; spin < 20000 && generation_.load(std::memory_order_acquire) == seen;
           ++spin) {
        pause_briefly();
      }
      generation_.wait(seen, std::memory_order_acquire);
      seen = generation_.load(std::memory_order_acquire);
      take_chunks();
    }
  }

  std::uint32_t started_ = 0;
  ChunkFunction function_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<std::uint32_t> done_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
};

struct Holder {
  std::atomic_flag taken = ATOMIC_FLAG_INIT;
  pid_t process = 0;
  Pool* pool = nullptr;  // never freed: its threads use it until the process ends
};

Holder holder;

}  // namespace

void run_chunks(std::uint32_t threads, std::uint32_t chunks, ChunkFunction function,
                const void* context) {
  bool threaded = threads > 1 && chunks > 1;
  if (threaded && holder.taken.test_and_set(std::memory_order_acquire)) {
    // Taken by another thread, or by the parent of this forked process in the moment of the fork;
    // then it stays taken here and this process works with one thread.
    threaded = false;
  }
  if (!threaded) {
    for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) function(context, chunk);
    return;
  }
  if (holder.process != getpid()) {  // threads do not survive a fork
    holder.pool = new Pool;
    holder.process = getpid();
  }
  holder.pool->run(threads, chunks, function, context);
  holder.taken.clear(std::memory_order_release);
}

}  // namespace girih
