// int8 matrix multiplication by vpdpbusd: each 32-bit lane adds four uint8 x int8 products.
//
// Signed activations are flipped to a + 128 as they are loaded, and 128 times each column's sum of
// b is taken off the start value; all sums are modulo 2^32, so this is exact. b is packed in blocks
// of 64 columns (the last may have fewer vectors of 16): for each group of four depths, one vector
// per 16 columns. Behind the blocks lie 128 x the column sums.

#include "matmul_kernels.hpp"

#include "intrinsics_x86.hpp"

namespace girih {

namespace {

constexpr std::uint64_t kBlock = 64;

std::uint64_t groups_of(std::uint64_t depth) { return (depth + 3) / 4; }

std::uint64_t padded_columns(std::uint64_t columns) { return (columns + 15) / 16 * 16; }

std::uint64_t packed_bytes(std::uint64_t columns, std::uint64_t depth) {
  return padded_columns(columns) * (groups_of(depth) * 4 + 4);
}

__mmask64 low_mask(std::uint64_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

__mmask16 low_mask16(std::uint64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1u << count) - 1);
}

// Turns 16 rows of 16 dwords into 16 columns.
inline void transpose(__m512i (&rows)[16]) {
  __m512i pairs[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  __m512i quads[16];
  for (int i = 0; i < 16; i += 4) {
    quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    const __m512i low = _mm512_shuffle_i32x4(quads[i], quads[i + 4], 0x88);
    const __m512i high = _mm512_shuffle_i32x4(quads[i], quads[i + 4], 0xDD);
    const __m512i low2 = _mm512_shuffle_i32x4(quads[i + 8], quads[i + 12], 0x88);
    const __m512i high2 = _mm512_shuffle_i32x4(quads[i + 8], quads[i + 12], 0xDD);
    rows[i] = _mm512_shuffle_i32x4(low, low2, 0x88);
    rows[i + 8] = _mm512_shuffle_i32x4(low, low2, 0xDD);
    rows[i + 4] = _mm512_shuffle_i32x4(high, high2, 0x88);
    rows[i + 12] = _mm512_shuffle_i32x4(high, high2, 0xDD);
  }
}

// Packs up to 16 columns from `column` on; `step` bytes lie between their groups. Returns the sums.
__m512i pack_transposed(const PackTask& task, std::uint64_t column, std::uint8_t* out,
                        std::uint64_t step) {
  const std::uint64_t count = task.columns - column < 16 ? task.columns - column : 16;
  const std::uint64_t groups = groups_of(task.depth);
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sums = _mm512_setzero_si512();
  for (std::uint64_t group = 0; group < groups; group += 16) {
    const __mmask64 mask = low_mask(task.depth - group * 4);
    __m512i rows[16];
    for (std::uint64_t i = 0; i < 16; ++i) {
      rows[i] = i < count ? _mm512_maskz_loadu_epi8(
                                mask, task.b + (column + i) * task.pitch + group * 4)
                          : _mm512_setzero_si512();
    }
    transpose(rows);
    const std::uint64_t produced = groups - group < 16 ? groups - group : 16;
    for (std::uint64_t i = 0; i < produced; ++i) {
      _mm512_storeu_si512(out + (group + i) * step, rows[i]);
      sums = _mm512_dpbusd_epi32(sums, ones, rows[i]);
    }
  }
  return sums;
}

__m512i pack_plain(const PackTask& task, std::uint64_t column, std::uint8_t* out,
                   std::uint64_t step) {
  const __mmask16 mask = low_mask16(task.columns - column);
  const std::uint64_t groups = groups_of(task.depth);
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sums = _mm512_setzero_si512();
  for (std::uint64_t group = 0; group < groups; ++group) {
    __m128i rows[4];
    for (std::uint64_t i = 0; i < 4; ++i) {
      const std::uint64_t k = group * 4 + i;
      rows[i] = k < task.depth ? _mm_maskz_loadu_epi8(mask, task.b + k * task.pitch + column)
                               : _mm_setzero_si128();
    }
    const __m128i low01 = _mm_unpacklo_epi8(rows[0], rows[1]);
    const __m128i high01 = _mm_unpackhi_epi8(rows[0], rows[1]);
    const __m128i low23 = _mm_unpacklo_epi8(rows[2], rows[3]);
    const __m128i high23 = _mm_unpackhi_epi8(rows[2], rows[3]);
    __m512i all = _mm512_castsi128_si512(_mm_unpacklo_epi16(low01, low23));
    all = _mm512_inserti32x4(all, _mm_unpackhi_epi16(low01, low23), 1);
    all = _mm512_inserti32x4(all, _mm_unpacklo_epi16(high01, high23), 2);
    all = _mm512_inserti32x4(all, _mm_unpackhi_epi16(high01, high23), 3);
    _mm512_storeu_si512(out + group * step, all);
    sums = _mm512_dpbusd_epi32(sums, ones, all);
  }
  return sums;
}

void pack(const PackTask& task, std::uint64_t block_begin, std::uint64_t block_end) {
  const std::uint64_t groups = groups_of(task.depth);
  const std::uint64_t padded = padded_columns(task.columns);
  std::uint8_t* sums_out = task.packed + padded * groups * 4;
  for (std::uint64_t block = block_begin; block < block_end; ++block) {
    const std::uint64_t first = block * kBlock;
    const std::uint64_t width = padded - first < kBlock ? padded - first : kBlock;
    std::uint8_t* out = task.packed + first * groups * 4;
    for (std::uint64_t column = 0; column < width; column += 16) {
      const __m512i sums = task.transposed
                               ? pack_transposed(task, first + column, out + column * 4, width * 4)
                               : pack_plain(task, first + column, out + column * 4, width * 4);
      _mm512_storeu_si512(sums_out + (first + column) * 4, _mm512_slli_epi32(sums, 7));
    }
  }
}

template <int kRows, int kVectors, bool kSigned>
void tile(const MatmulTask& task, const std::uint8_t* a, const std::uint8_t* b,
          const std::uint8_t* sums, std::uint8_t* c, std::uint64_t columns) {
  const std::uint64_t groups = groups_of(task.depth);
  const __mmask16 last = low_mask16(columns - 16 * (kVectors - 1));
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  __m512i totals[kRows][kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    const __m512i start = kSigned ? _mm512_sub_epi32(_mm512_setzero_si512(),
                                                     _mm512_loadu_si512(sums + 64 * j))
                                  : _mm512_setzero_si512();
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) totals[i][j] = start;
  }
  for (std::uint64_t group = 0; group < groups; ++group) {
    __m512i weights[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      weights[j] = _mm512_loadu_si512(b + (group * kVectors + static_cast<std::uint64_t>(j)) * 64);
    }
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      std::int32_t four;
      __builtin_memcpy(&four, a + static_cast<std::uint64_t>(i) * task.a_pitch + group * 4, 4);
      __m512i activations = _mm512_set1_epi32(four);
      if (kSigned) activations = _mm512_xor_si512(activations, flip);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        totals[i][j] = _mm512_dpbusd_epi32(totals[i][j], activations, weights[j]);
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    std::uint8_t* row = c + static_cast<std::uint64_t>(i) * task.c_pitch;
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const __mmask16 mask = j == kVectors - 1 ? last : static_cast<__mmask16>(0xFFFF);
      if (task.accumulate) {
        totals[i][j] = _mm512_add_epi32(totals[i][j],
                                        _mm512_maskz_loadu_epi32(mask, row + 64 * j));
      }
      _mm512_mask_storeu_epi32(row + 64 * j, mask, totals[i][j]);
    }
  }
}

using Tile = void (*)(const MatmulTask&, const std::uint8_t*, const std::uint8_t*,
                      const std::uint8_t*, std::uint8_t*, std::uint64_t);

#define GIRIH_TILE_ROW(rows, is_signed)                                            \
  {tile<rows, 1, is_signed>, tile<rows, 2, is_signed>, tile<rows, 3, is_signed>, \
   tile<rows, 4, is_signed>}
#define GIRIH_TILES(is_signed)                                                     \
  {GIRIH_TILE_ROW(1, is_signed), GIRIH_TILE_ROW(2, is_signed), GIRIH_TILE_ROW(3, is_signed), \
   GIRIH_TILE_ROW(4, is_signed), GIRIH_TILE_ROW(5, is_signed), GIRIH_TILE_ROW(6, is_signed)}

constexpr std::uint64_t kTileRows = 6;
constexpr Tile kTiles[2][kTileRows][4] = {GIRIH_TILES(false), GIRIH_TILES(true)};

#undef GIRIH_TILES
#undef GIRIH_TILE_ROW

void multiply(const MatmulTask& task, std::uint64_t row_begin, std::uint64_t row_end,
              std::uint64_t block_begin, std::uint64_t block_end) {
  const std::uint64_t groups = groups_of(task.depth);
  const std::uint64_t padded = padded_columns(task.columns);
  const std::uint8_t* sums = task.packed + padded * groups * 4;
  for (std::uint64_t block = block_begin; block < block_end; ++block) {
    const std::uint64_t first = block * kBlock;
    const std::uint64_t width = padded - first < kBlock ? padded - first : kBlock;
    const std::uint64_t columns = task.columns - first < kBlock ? task.columns - first : kBlock;
    for (std::uint64_t row = row_begin; row < row_end; row += kTileRows) {
      const std::uint64_t count = row_end - row < kTileRows ? row_end - row : kTileRows;
      kTiles[task.a_signed ? 1 : 0][count - 1][width / 16 - 1](
          task, task.a + row * task.a_pitch, task.packed + first * groups * 4, sums + first * 4,
          task.c + row * task.c_pitch + first * 4, columns);
    }
  }
}

// Dot products of whole rows of b with up to a few rows of a: reads b once, packs nothing. Here b is
// the flipped, unsigned factor when a is signed, and 128 x the sum of a's row is the correction.
template <bool kSigned>
void direct_row(const MatmulTask& task, const std::uint8_t* a, std::uint8_t* c,
                const std::uint8_t* b, std::uint64_t b_pitch) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  const __m512i ones = _mm512_set1_epi8(1);
  const std::uint64_t depth = task.depth;
  __m512i correction = _mm512_setzero_si512();
  if (kSigned) {
    for (std::uint64_t k = 0; k < depth; k += 64) {
      const __m512i values = _mm512_maskz_loadu_epi8(low_mask(depth - k), a + k);
      correction = _mm512_dpbusd_epi32(correction, ones, values);
    }
  }
  const std::int32_t offset = static_cast<std::int32_t>(
      static_cast<std::uint32_t>(_mm512_reduce_add_epi32(correction)) << 7);
  for (std::uint64_t column = 0; column < task.columns; column += 4) {
    const std::uint64_t count = task.columns - column < 4 ? task.columns - column : 4;
    const std::uint8_t* rows[4];
    for (std::uint64_t i = 0; i < 4; ++i) {
      rows[i] = b + (column + (i < count ? i : 0)) * b_pitch;
    }
    __m512i totals[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                         _mm512_setzero_si512()};
    for (std::uint64_t k = 0; k < depth; k += 64) {
      const __mmask64 mask = low_mask(depth - k);
      const __m512i activations = _mm512_maskz_loadu_epi8(mask, a + k);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m512i weights = _mm512_maskz_loadu_epi8(mask, rows[i] + k);
        totals[i] = kSigned ? _mm512_dpbusd_epi32(totals[i], _mm512_xor_si512(weights, flip),
                                                  activations)
                            : _mm512_dpbusd_epi32(totals[i], activations, weights);
      }
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      std::uint32_t value = static_cast<std::uint32_t>(_mm512_reduce_add_epi32(totals[i])) -
                            static_cast<std::uint32_t>(offset);
      std::uint8_t* out = c + (column + i) * 4;
      if (task.accumulate) {
        std::uint32_t before;
        __builtin_memcpy(&before, out, 4);
        value += before;
      }
      __builtin_memcpy(out, &value, 4);
    }
  }
}

void multiply_direct(const MatmulTask& task, const std::uint8_t* b, std::uint64_t b_pitch) {
  for (std::uint64_t row = 0; row < task.rows; ++row) {
    const std::uint8_t* a = task.a + row * task.a_pitch;
    std::uint8_t* c = task.c + row * task.c_pitch;
    if (task.a_signed) {
      direct_row<true>(task, a, c, b, b_pitch);
    } else {
      direct_row<false>(task, a, c, b, b_pitch);
    }
  }
}

}  // namespace

const MatmulKernels kMatmulAvx512Vnni = {kBlock, packed_bytes, pack, multiply, multiply_direct};

}  // namespace girih
