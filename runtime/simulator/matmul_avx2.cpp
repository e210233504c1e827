// int8 matrix multiplication by vpmaddwd: each 32-bit lane adds two int16 x int16 products. (The
// uint8 x int8 form of AVX2, vpmaddubsw, saturates at 16 bits and is not exact.)
//
// b is packed as int16 in blocks of 16 columns: for each pair of depths, 16 columns x 2. Rows of a
// are widened to int16 in pieces that stay in the first-level cache.

#include "matmul_kernels.hpp"

#include "intrinsics_x86.hpp"

namespace girih {

namespace {

constexpr std::uint64_t kBlock = 16;
constexpr std::uint64_t kTileRows = 6;
constexpr std::uint64_t kPiece = 512;  // depths widened at a time

std::uint64_t pairs_of(std::uint64_t depth) { return (depth + 1) / 2; }

std::uint64_t blocks_of(std::uint64_t columns) { return (columns + kBlock - 1) / kBlock; }

std::uint64_t packed_bytes(std::uint64_t columns, std::uint64_t depth) {
  return blocks_of(columns) * pairs_of(depth) * kBlock * 4;
}

void pack(const PackTask& task, std::uint64_t block_begin, std::uint64_t block_end) {
  const std::uint64_t pairs = pairs_of(task.depth);
  const std::uint64_t across = task.transposed ? task.pitch : 1;
  const std::uint64_t along = task.transposed ? 1 : task.pitch;
  for (std::uint64_t block = block_begin; block < block_end; ++block) {
    const std::uint64_t first = block * kBlock;
    const std::uint64_t count = task.columns - first < kBlock ? task.columns - first : kBlock;
    std::uint8_t* out = task.packed + block * pairs * kBlock * 4;
    for (std::uint64_t pair = 0; pair < pairs; ++pair) {
      std::int16_t values[kBlock * 2] = {};
      const std::uint64_t depths = task.depth - pair * 2 < 2 ? 1 : 2;
      for (std::uint64_t column = 0; column < count; ++column) {
        const std::uint8_t* from = task.b + (first + column) * across + pair * 2 * along;
        for (std::uint64_t k = 0; k < depths; ++k) {
          values[column * 2 + k] = static_cast<std::int8_t>(from[k * along]);
        }
      }
      __builtin_memcpy(out + pair * sizeof values, values, sizeof values);
    }
  }
}

// Widens `depths` values; an odd one out is followed by zero.
void widen(const std::uint8_t* from, bool is_signed, std::uint64_t depths, std::int16_t* to) {
  std::uint64_t k = 0;
  for (; k + 16 <= depths; k += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k),
                        is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes));
  }
  for (; k < depths; ++k) {
    to[k] = is_signed ? static_cast<std::int16_t>(static_cast<std::int8_t>(from[k]))
                      : static_cast<std::int16_t>(from[k]);
  }
  if (depths % 2 != 0) to[depths] = 0;
}

template <int kRows>
void tile(const MatmulTask& task, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* c,
          std::uint64_t columns) {
  alignas(64) std::int16_t wide[kRows][kPiece];
  __m256i totals[kRows][2];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) totals[i][0] = totals[i][1] = _mm256_setzero_si256();
  for (std::uint64_t piece = 0; piece < task.depth; piece += kPiece) {
    const std::uint64_t depths = task.depth - piece < kPiece ? task.depth - piece : kPiece;
    for (int i = 0; i < kRows; ++i) {
      widen(a + static_cast<std::uint64_t>(i) * task.a_pitch + piece, task.a_signed, depths,
            wide[i]);
    }
    const std::uint8_t* weights = b + piece / 2 * kBlock * 4;
    for (std::uint64_t pair = 0; pair < pairs_of(depths); ++pair) {
      const __m256i low =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + pair * 64));
      const __m256i high =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + pair * 64 + 32));
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        std::int32_t two;
        __builtin_memcpy(&two, &wide[i][pair * 2], 4);
        const __m256i activations = _mm256_set1_epi32(two);
        totals[i][0] = _mm256_add_epi32(totals[i][0], _mm256_madd_epi16(activations, low));
        totals[i][1] = _mm256_add_epi32(totals[i][1], _mm256_madd_epi16(activations, high));
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    std::uint8_t* row = c + static_cast<std::uint64_t>(i) * task.c_pitch;
    std::uint32_t values[kBlock];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(values), totals[i][0]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(values + 8), totals[i][1]);
    if (task.accumulate) {
      std::uint32_t before[kBlock] = {};
      __builtin_memcpy(before, row, columns * 4);
      for (std::uint64_t column = 0; column < kBlock; ++column) values[column] += before[column];
    }
    __builtin_memcpy(row, values, columns * 4);
  }
}

using Tile = void (*)(const MatmulTask&, const std::uint8_t*, const std::uint8_t*, std::uint8_t*,
                      std::uint64_t);
constexpr Tile kTiles[kTileRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

void multiply(const MatmulTask& task, std::uint64_t row_begin, std::uint64_t row_end,
              std::uint64_t block_begin, std::uint64_t block_end) {
  const std::uint64_t block_bytes = pairs_of(task.depth) * kBlock * 4;
  for (std::uint64_t row = row_begin; row < row_end; row += kTileRows) {
    const std::uint64_t count = row_end - row < kTileRows ? row_end - row : kTileRows;
    for (std::uint64_t block = block_begin; block < block_end; ++block) {
      const std::uint64_t first = block * kBlock;
      const std::uint64_t columns = task.columns - first < kBlock ? task.columns - first : kBlock;
      kTiles[count - 1](task, task.a + row * task.a_pitch, task.packed + block * block_bytes,
                        task.c + row * task.c_pitch + first * 4, columns);
    }
  }
}

std::int32_t sum_of(__m256i values) {
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

// The dot product of a row of a and a row of b, both contiguous.
std::uint32_t dot(const std::uint8_t* a, bool a_signed, const std::uint8_t* b,
                  std::uint64_t depth) {
  __m256i totals = _mm256_setzero_si256();
  std::uint64_t k = 0;
  for (; k + 16 <= depth; k += 16) {
    const __m128i left = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a + k));
    const __m128i right = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + k));
    const __m256i wide = a_signed ? _mm256_cvtepi8_epi16(left) : _mm256_cvtepu8_epi16(left);
    totals = _mm256_add_epi32(totals, _mm256_madd_epi16(wide, _mm256_cvtepi8_epi16(right)));
  }
  auto total = static_cast<std::uint32_t>(sum_of(totals));
  for (; k < depth; ++k) {
    const std::int32_t left =
        a_signed ? static_cast<std::int8_t>(a[k]) : static_cast<std::int32_t>(a[k]);
    total += static_cast<std::uint32_t>(left * static_cast<std::int8_t>(b[k]));
  }
  return total;
}

void multiply_direct(const MatmulTask& task, const std::uint8_t* b, std::uint64_t b_pitch) {
  for (std::uint64_t row = 0; row < task.rows; ++row) {
    for (std::uint64_t column = 0; column < task.columns; ++column) {
      std::uint32_t value =
          dot(task.a + row * task.a_pitch, task.a_signed, b + column * b_pitch, task.depth);
      std::uint8_t* out = task.c + row * task.c_pitch + column * 4;
      if (task.accumulate) {
        std::uint32_t before;
        __builtin_memcpy(&before, out, 4);
        value += before;
      }
      __builtin_memcpy(out, &value, 4);
    }
  }
}

}  // namespace

const MatmulKernels kMatmulAvx2 = {kBlock, packed_bytes, pack, multiply, multiply_direct};

}  // namespace girih
