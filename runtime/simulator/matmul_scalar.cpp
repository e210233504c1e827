// int8 matrix multiplication in portable C++: for each depth, a row of 64 columns is scaled and
// added, which compilers vectorize for any processor.

#include "matmul_kernels.hpp"

namespace girih {

namespace {

constexpr std::uint64_t kBlock = 64;

std::uint64_t blocks_of(std::uint64_t columns) { return (columns + kBlock - 1) / kBlock; }

// Blocks of depth x 64 int16, zero in columns behind the last.
std::uint64_t packed_bytes(std::uint64_t columns, std::uint64_t depth) {
  return blocks_of(columns) * depth * kBlock * 2;
}

void pack(const PackTask& task, std::uint64_t block_begin, std::uint64_t block_end) {
  const std::uint64_t across = task.transposed ? task.pitch : 1;
  const std::uint64_t along = task.transposed ? 1 : task.pitch;
  for (std::uint64_t block = block_begin; block < block_end; ++block) {
    const std::uint64_t first = block * kBlock;
    const std::uint64_t count = task.columns - first < kBlock ? task.columns - first : kBlock;
    std::uint8_t* out = task.packed + block * task.depth * kBlock * 2;
    for (std::uint64_t k = 0; k < task.depth; ++k) {
      std::int16_t values[kBlock] = {};
      const std::uint8_t* from = task.b + first * across + k * along;
      for (std::uint64_t column = 0; column < count; ++column) {
        values[column] = static_cast<std::int8_t>(from[column * across]);
      }
      __builtin_memcpy(out + k * sizeof values, values, sizeof values);
    }
  }
}

void multiply(const MatmulTask& task, std::uint64_t row_begin, std::uint64_t row_end,
              std::uint64_t block_begin, std::uint64_t block_end) {
  for (std::uint64_t block = block_begin; block < block_end; ++block) {
    const std::uint64_t first = block * kBlock;
    const std::uint64_t columns = task.columns - first < kBlock ? task.columns - first : kBlock;
    const std::uint8_t* packed = task.packed + block * task.depth * kBlock * 2;
    for (std::uint64_t row = row_begin; row < row_end; ++row) {
      const std::uint8_t* a = task.a + row * task.a_pitch;
      std::uint8_t* c = task.c + row * task.c_pitch + first * 4;
      std::uint32_t totals[kBlock] = {};  // unsigned: sums are modulo 2^32
      if (task.accumulate) __builtin_memcpy(totals, c, columns * 4);
      for (std::uint64_t k = 0; k < task.depth; ++k) {
        const std::int32_t activation =
            task.a_signed ? static_cast<std::int8_t>(a[k]) : static_cast<std::int32_t>(a[k]);
        std::int16_t weights[kBlock];
        __builtin_memcpy(weights, packed + k * sizeof weights, sizeof weights);
        for (std::uint64_t column = 0; column < kBlock; ++column) {
          totals[column] += static_cast<std::uint32_t>(activation * weights[column]);
        }
      }
      __builtin_memcpy(c, totals, columns * 4);
    }
  }
}

}  // namespace

const MatmulKernels kMatmulScalar = {kBlock, packed_bytes, pack, multiply, nullptr};

}  // namespace girih
