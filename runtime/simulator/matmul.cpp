#include "matmul.hpp"

#include <algorithm>

#include "pool.hpp"

namespace girih {

namespace {

// Enough for the tiles that a tiled loop nest comes back to, few enough to search one by one.
constexpr std::size_t kEntries = 48;
// With fewer rows than this, packing b costs more than it saves.
constexpr std::uint64_t kDirectRows = 4;
// Waking another thread costs about as much as this many multiply-accumulates.
constexpr std::uint64_t kMacsPerThread = std::uint64_t{1} << 20;
constexpr std::uint64_t kRowsPerChunk = 24;

struct Job {
  const Kernels& kernels;
  MatmulTask task;
  PackTask pack;
  std::uint64_t blocks;
  std::uint64_t row_chunks;
  std::uint64_t rows_per_chunk;
  std::uint64_t blocks_per_chunk;
};

void multiply_chunk(const void* context, std::uint32_t chunk) {
  const Job& job = *static_cast<const Job*>(context);
  const std::uint64_t row = chunk % job.row_chunks * job.rows_per_chunk;
  const std::uint64_t block = chunk / job.row_chunks * job.blocks_per_chunk;
  job.kernels.multiply(job.task, row, std::min(job.task.rows, row + job.rows_per_chunk), block,
                       std::min(job.blocks, block + job.blocks_per_chunk));
}

void pack_chunk(const void* context, std::uint32_t chunk) {
  const Job& job = *static_cast<const Job*>(context);
  const std::uint64_t block = chunk * job.blocks_per_chunk;
  job.kernels.pack(job.pack, block, std::min(job.blocks, block + job.blocks_per_chunk));
}

std::uint64_t divide_up(std::uint64_t value, std::uint64_t by) { return (value + by - 1) / by; }

}  // namespace

Multiplier::Entry& Multiplier::find_or_replace(const PackKey& key, bool& found) {
  ++uses_;
  const auto same = std::find_if(entries_.begin(), entries_.end(),
                                 [&key](const Entry& entry) { return entry.key == key; });
  found = same != entries_.end();
  if (found) {
    same->last_use = uses_;
    return *same;
  }
  if (entries_.size() < kEntries) return entries_.emplace_back(key, uses_, std::vector<std::uint8_t>());
  Entry& oldest = *std::min_element(
      entries_.begin(), entries_.end(),
      [](const Entry& left, const Entry& right) { return left.last_use < right.last_use; });
  oldest.key = key;
  oldest.last_use = uses_;
  return oldest;
}

void Multiplier::run(const Kernels& kernels, std::uint32_t threads, MatmulTask task,
                     const std::uint8_t* b, const PackKey& key) {
  if (kernels.multiply_direct != nullptr && key.transposed && task.rows < kDirectRows) {
    kernels.multiply_direct(task, b, key.pitch);
    return;
  }
  bool found = false;
  Entry& entry = find_or_replace(key, found);
  const std::uint64_t blocks = divide_up(task.columns, kernels.block_columns);
  if (!found) entry.packed.resize(kernels.packed_bytes(task.columns, task.depth));
  task.packed = entry.packed.data();
  Job job{kernels, task, {b, key.pitch, task.columns, task.depth, key.transposed,
                          entry.packed.data()},
          blocks, 1, task.rows, blocks};
  if (threads < 2 || task.rows * task.columns * task.depth < 2 * kMacsPerThread) {
    if (!found) kernels.pack(job.pack, 0, blocks);
    kernels.multiply(task, 0, task.rows, 0, blocks);
    return;
  }
  // More chunks than threads, so that one that lost its core holds up little.
  job.blocks_per_chunk = std::max<std::uint64_t>(1, divide_up(blocks, 4 * threads));
  const auto block_chunks = static_cast<std::uint32_t>(divide_up(blocks, job.blocks_per_chunk));
  if (!found) run_chunks(threads, block_chunks, pack_chunk, &job);
  if (task.rows >= threads * kRowsPerChunk) {
    // Chunks of rows, all columns: a multiple of the kernels' six rows.
    const std::uint64_t rows = divide_up(divide_up(task.rows, 4 * threads), kRowsPerChunk);
    job.rows_per_chunk = rows * kRowsPerChunk;
    job.row_chunks = divide_up(task.rows, job.rows_per_chunk);
    job.blocks_per_chunk = blocks;
    run_chunks(threads, static_cast<std::uint32_t>(job.row_chunks), multiply_chunk, &job);
  } else {
    run_chunks(threads, block_chunks, multiply_chunk, &job);
  }
}

}  // namespace girih
