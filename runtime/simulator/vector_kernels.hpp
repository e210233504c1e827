// The vector instructions and the clocks of memory lines, in portable C++ written so that compilers
// vectorize it. Each file that includes this is compiled for one instruction set and gets its own
// copy: everything is in an unnamed namespace, and no library template is used.
//
// Tiles are worked on in pieces of kPiece columns that are first widened to int32 in a local array:
// that makes in-place targets safe and tells the compiler that nothing overlaps.
#pragma once

#include "correction_table.hpp"
#include "kernels.hpp"

namespace girih {

namespace {

using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u64 kPiece = 256;
constexpr i32 kLowest32 = -2147483647 - 1;
constexpr i32 kHighest32 = 2147483647;
constexpr i32 kHidden = -32768;

u8* at(const Rows& rows, u64 row, u64 column) {
  return rows.data + row * rows.pitch + column * rows.bytes;
}

i32 load32(const u8* from) {
  i32 value;
  __builtin_memcpy(&value, from, 4);
  return value;
}

i32 load16(const u8* from) {
  i16 value;
  __builtin_memcpy(&value, from, 2);
  return value;
}

void store32(u8* to, i32 value) { __builtin_memcpy(to, &value, 4); }

void store16(u8* to, i32 value) {
  const i16 narrow = static_cast<i16>(value);
  __builtin_memcpy(to, &narrow, 2);
}

// Elements of `bytes` each, sign extended.
void load(const u8* from, u32 bytes, u64 count, i32* out) {
  if (bytes == 4) {
    __builtin_memcpy(out, from, count * 4);
  } else if (bytes == 2) {
    const i16* values = reinterpret_cast<const i16*>(from);
    for (u64 i = 0; i < count; ++i) out[i] = values[i];
  } else {
    const i8* values = reinterpret_cast<const i8*>(from);
    for (u64 i = 0; i < count; ++i) out[i] = values[i];
  }
}

// Saturates to int8 or int16.
void store_saturated(const i32* values, u32 bytes, u64 count, u8* to) {
  if (bytes == 2) {
    i16* out = reinterpret_cast<i16*>(to);
    for (u64 i = 0; i < count; ++i) {
      const i32 low = values[i] < -32768 ? -32768 : values[i];
      out[i] = static_cast<i16>(low > 32767 ? 32767 : low);
    }
  } else {
    i8* out = reinterpret_cast<i8*>(to);
    for (u64 i = 0; i < count; ++i) {
      const i32 low = values[i] < -128 ? -128 : values[i];
      out[i] = static_cast<i8>(low > 127 ? 127 : low);
    }
  }
}

i32 clamp32(i64 value) {
  const i64 low = value < kLowest32 ? kLowest32 : value;
  return static_cast<i32>(low > kHighest32 ? kHighest32 : low);
}

// Multipliers and shifts for the columns of a piece.
//
// All is done in 32 bits. When a shift s is above 32, the low half of the product can not matter:
// half(s) is a multiple of 2^32, so (v * m + half(s)) >> s is (high(v * m) + half(s) / 2^32) >>
// (s - 32). A smaller shift is brought to 33 by scaling m, as far as it stays below 2^31, and then
// v; where v would overflow it is clamped instead: by then m is at least 2^30 and the result beyond
// 2^16, so that saturation to int16 gives the same value. The same holds for shifts of v beyond 20.
struct Scale {
  i32 multiplier[kPiece];
  i32 shift[kPiece];
  i32 half[kPiece];  // half(s) / 2^32
  i32 left[kPiece];  // v is shifted left by this, within the limits
  i32 lowest[kPiece];
  i32 highest[kPiece];
  bool small;  // some shift was 32 or less: left and the limits are needed

  // Takes m and s from `multiplier` and `shift`.
  void prepare(u64 count) {
    i32 smallest = 62;
    for (u64 i = 0; i < count; ++i) smallest = shift[i] < smallest ? shift[i] : smallest;
    small = smallest <= 32;
    if (small) bring_to_33(count);
    for (u64 i = 0; i < count; ++i) {
      half[i] = static_cast<i32>(1u << (shift[i] - 33));
      shift[i] -= 32;
    }
  }

  void bring_to_33(u64 count) {
    for (u64 i = 0; i < count; ++i) {
      i32 missing = shift[i] < 33 ? 33 - shift[i] : 0;
      if (missing > 0) shift[i] = 33;
      for (; missing > 0 && multiplier[i] < (1 << 30); --missing) multiplier[i] *= 2;
      left[i] = missing < 20 ? missing : 20;
      lowest[i] = kLowest32 >> left[i];
      highest[i] = kHighest32 >> left[i];
    }
  }

  void set(i64 one_multiplier, i64 one_shift, u64 count) {
    multiplier[0] = static_cast<i32>(one_multiplier);
    shift[0] = static_cast<i32>(one_shift);
    prepare(1);
    for (u64 i = 1; i < count; ++i) {
      multiplier[i] = multiplier[0];
      shift[i] = shift[0];
      half[i] = half[0];
    }
    if (!small) return;
    for (u64 i = 1; i < count; ++i) {
      left[i] = left[0];
      lowest[i] = lowest[0];
      highest[i] = highest[0];
    }
  }

  void read(const u8* multipliers, const u8* shifts, u64 count) {
    __builtin_memcpy(multiplier, multipliers, count * 4);
    __builtin_memcpy(shift, shifts, count * 4);
    prepare(count);
  }

  // out = (values * m + half(s)) >> s wherever that is at most 2^16 in size, else beyond that on the
  // same side, below 2^30: even with a small offset added it fits int32 and saturates alike.
  void apply(const i32* values, u64 count, i32* out) const {
    if (small) {
      for (u64 i = 0; i < count; ++i) {
        const i32 low = values[i] < lowest[i] ? lowest[i] : values[i];
        const i32 clamped = low > highest[i] ? highest[i] : low;
        const i32 shifted = static_cast<i32>(static_cast<u32>(clamped) << left[i]);
        const i32 product = static_cast<i32>((static_cast<i64>(shifted) * multiplier[i]) >> 32);
        out[i] = (product + half[i]) >> shift[i];
      }
    } else {
      for (u64 i = 0; i < count; ++i) {
        const i32 product = static_cast<i32>((static_cast<i64>(values[i]) * multiplier[i]) >> 32);
        out[i] = (product + half[i]) >> shift[i];
      }
    }
  }
};

void rescale(const VectorTask& task) {
  for (u64 column = 0; column < task.columns; column += kPiece) {
    const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
    Scale scale;
    i32 bias[kPiece];
    if (task.per_column) {
      __builtin_memcpy(bias, at(task.c, 0, column), count * 4);
      scale.read(at(task.c, 1, column), at(task.c, 2, column), count);
    } else {
      for (u64 i = 0; i < count; ++i) bias[i] = static_cast<i32>(task.immediates[0]);
      scale.set(task.immediates[1], task.immediates[2], count);
    }
    for (u64 row = 0; row < task.rows; ++row) {
      i32 values[kPiece];
      i32 scaled[kPiece];
      load(at(task.a, row, column), task.a.bytes, count, values);
      for (u64 i = 0; i < count; ++i) {  // saturating addition
        const i32 sum = static_cast<i32>(static_cast<u32>(values[i]) + static_cast<u32>(bias[i]));
        const i32 overflow = (values[i] ^ sum) & (bias[i] ^ sum);
        const i32 limit = bias[i] < 0 ? kLowest32 : kHighest32;
        values[i] = overflow < 0 ? limit : sum;
      }
      scale.apply(values, count, scaled);
      store_saturated(scaled, task.b.bytes, count, at(task.b, row, column));
    }
  }
}

void add(const VectorTask& task) {
  const i64 multiplier_a = task.immediates[0];
  const i64 multiplier_b = task.immediates[1];
  const i64 shift = task.immediates[2];
  const i64 half = static_cast<i64>(u64{1} << (shift - 1));
  for (u64 row = 0; row < task.rows; ++row) {
    for (u64 column = 0; column < task.columns; column += kPiece) {
      const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
      i32 left[kPiece];
      i32 right[kPiece];
      i32 sums[kPiece];
      load(at(task.a, row, column), task.a.bytes, count, left);
      load(at(task.b, row, column), task.b.bytes, count, right);
      for (u64 i = 0; i < count; ++i) {
        const i64 sum = static_cast<i64>(left[i]) * static_cast<i32>(multiplier_a) +
                        static_cast<i64>(right[i]) * static_cast<i32>(multiplier_b);
        sums[i] = clamp32((sum + half) >> shift);
      }
      store_saturated(sums, task.c.bytes, count, at(task.c, row, column));
    }
  }
}

void multiply_elements(const VectorTask& task) {
  Scale scale;
  scale.set(task.immediates[0], task.immediates[1], kPiece);
  for (u64 row = 0; row < task.rows; ++row) {
    for (u64 column = 0; column < task.columns; column += kPiece) {
      const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
      i32 left[kPiece];
      i32 right[kPiece];
      load(at(task.a, row, column), task.a.bytes, count, left);
      load(at(task.b, row, column), task.b.bytes, count, right);
      for (u64 i = 0; i < count; ++i) left[i] *= right[i];  // 2^30 at most
      scale.apply(left, count, right);
      store_saturated(right, task.c.bytes, count, at(task.c, row, column));
    }
  }
}

void gelu(const VectorTask& task) {
  i32 table[1024];
  __builtin_memcpy(table, task.d.data, sizeof table);
  Scale index;
  index.set(task.immediates[0], task.immediates[1], kPiece);
  const i32 offset = static_cast<i32>(task.immediates[2]);
  for (u64 column = 0; column < task.columns; column += kPiece) {
    const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
    Scale scale;
    scale.read(at(task.c, 0, column), at(task.c, 1, column), count);
    for (u64 row = 0; row < task.rows; ++row) {
      i32 values[kPiece];
      i32 sizes[kPiece];
      i32 places[kPiece];
      load(at(task.a, row, column), 2, count, values);
      for (u64 i = 0; i < count; ++i) sizes[i] = values[i] < 0 ? -values[i] : values[i];
      index.apply(sizes, count, places);
      for (u64 i = 0; i < count; ++i) {
        const i32 positive = values[i] > 0 ? values[i] : 0;
        const u32 place = static_cast<u32>(places[i] < 1023 ? places[i] : 1023);
        values[i] = static_cast<i32>((static_cast<u32>(positive) << 8) +
                                     static_cast<u32>(table[place]));
      }
      scale.apply(values, count, sizes);
      for (u64 i = 0; i < count; ++i) sizes[i] += offset;
      store_saturated(sizes, task.b.bytes, count, at(task.b, row, column));
    }
  }
}

// floor(sqrt(value)), value < 2^63: the double is off by less than one, and then corrected.
u64 integer_root(u64 value) {
  u64 root = static_cast<u64>(__builtin_sqrt(static_cast<double>(value)));
  while (root * root > value) --root;
  while ((root + 1) * (root + 1) <= value) ++root;
  return root;
}

i64 floor_divide(i64 value, i64 by) {  // by > 0
  const i64 quotient = value / by;
  return quotient - (value % by < 0 ? 1 : 0);
}

void layer_norm(const VectorTask& task) {
  const i64 columns = static_cast<i64>(task.columns);
  const i64 epsilon = task.immediates[0];
  const i64 shift = task.immediates[1];
  const i64 half = static_cast<i64>(u64{1} << (shift - 1));
  for (u64 row = 0; row < task.rows; ++row) {
    const i16* source = reinterpret_cast<const i16*>(at(task.a, row, 0));
    i32 mean = 0;
    if (!task.uncentered) {
      i32 sum = 0;  // at most 65536 x 32768: just fits, negative
      for (u64 i = 0; i < task.columns; ++i) sum += source[i];
      mean = static_cast<i32>(floor_divide(32 * static_cast<i64>(sum) + columns, 2 * columns));
    }
    i64 squares = 0;
    for (u64 i = 0; i < task.columns; ++i) {
      const i32 centred = 16 * static_cast<i32>(source[i]) - mean;
      squares += static_cast<i64>(centred) * centred;
    }
    const i64 variance = squares / columns + epsilon;
    const u64 sigma = integer_root(static_cast<u64>(variance) << 20);
    const i64 reciprocal = static_cast<i64>((u64{1} << 42) / sigma);
    for (u64 column = 0; column < task.columns; column += kPiece) {
      const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
      i32 values[kPiece];
      i32 gains[kPiece];
      i32 offsets[kPiece];
      load(at(task.a, row, column), 2, count, values);
      __builtin_memcpy(gains, at(task.c, 0, column), count * 4);
      if (task.uncentered) {
        __builtin_memset(offsets, 0, sizeof offsets);
      } else {
        __builtin_memcpy(offsets, at(task.c, 1, column), count * 4);
      }
      for (u64 i = 0; i < count; ++i) values[i] = 16 * values[i] - mean;
      if (reciprocal <= kHighest32) {  // a product of 32-bit factors: one multiplication
        const i32 factor = static_cast<i32>(reciprocal);
        for (u64 i = 0; i < count; ++i) {
          values[i] = static_cast<i32>((static_cast<i64>(values[i]) * factor + 32768) >> 16);
        }
      } else {
        for (u64 i = 0; i < count; ++i) {
          values[i] = static_cast<i32>((static_cast<i64>(values[i]) * reciprocal + 32768) >> 16);
        }
      }
      for (u64 i = 0; i < count; ++i) {
        const i64 scaled = static_cast<i64>(values[i]) * gains[i] +
                           static_cast<i64>(offsets[i]) * 256 + half;
        values[i] = clamp32(scaled >> shift);
      }
      store_saturated(values, task.b.bytes, count, at(task.b, row, column));
    }
  }
}

// The first column of row `row` that the causal flag hides.
u64 visible_columns(const VectorTask& task, u64 row) {
  if (!task.causal) return task.columns;
  const i64 last = task.immediates[2] + static_cast<i64>(row) - task.immediates[3];
  if (last < 0) return 0;
  return static_cast<u64>(last) + 1 < task.columns ? static_cast<u64>(last) + 1 : task.columns;
}

// Hides what the causal flag and the mask hide in columns [column, column + count) of a row of
// scores, and returns the largest that is left.
i32 hide_and_find_largest(const VectorTask& task, u64 row, u64 column, u64 count, i16* scores) {
  const u64 visible = visible_columns(task, row);
  for (u64 i = visible > column ? visible - column : 0; i < count; ++i) scores[i] = kHidden;
  if (task.masked) {
    const i8* shown = reinterpret_cast<const i8*>(at(task.d, row, column));
    for (u64 i = 0; i < count; ++i) {
      scores[i] = shown[i] == 0 ? static_cast<i16>(kHidden) : scores[i];
    }
  }
  i16 largest = kHidden;
  for (u64 i = 0; i < count; ++i) largest = scores[i] > largest ? scores[i] : largest;
  return largest;
}

void scores(const VectorTask& task) {
  Scale scale;
  scale.set(task.immediates[0], task.immediates[1], kPiece);
  for (u64 row = 0; row < task.rows; ++row) {
    const i32 before = load16(at(task.c, row, 0));
    i32 largest = before;
    for (u64 column = 0; column < task.columns; column += kPiece) {
      const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
      i32 values[kPiece];
      i32 scaled[kPiece];
      load(at(task.a, row, column), 4, count, values);
      scale.apply(values, count, scaled);
      u8* to = at(task.b, row, column);
      store_saturated(scaled, 2, count, to);
      const i32 found =
          hide_and_find_largest(task, row, column, count, reinterpret_cast<i16*>(to));
      largest = found > largest ? found : largest;
    }
    store16(at(task.c, row, 0), largest);
    store16(at(task.c, row, 1), before);
  }
}

// What sums below a maximum are multiplied by when it rises by so much, 30 fraction bits.
i32 correction(i32 distance) {
  const i32 exponent = (distance >> 8) < 32 ? distance >> 8 : 32;
  const i64 half = static_cast<i64>((u64{1} << exponent) >> 1);
  return static_cast<i32>((kCorrection[distance & 255] + half) >> exponent);
}

// docs/numerics.md, integer_attention, step 4. From e = 9 on p is 0 whatever f is.
void exponential(const VectorTask& task) {
  for (u64 row = 0; row < task.rows; ++row) {
    const i32 largest = load16(at(task.c, row, 0));
    const i32 before = load16(at(task.c, row, 1));
    u32 total = 0;
    for (u64 column = 0; column < task.columns; column += kPiece) {
      const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
      const i16* source = reinterpret_cast<const i16*>(at(task.a, row, column));
      u8* to = at(task.b, row, column);
      i32 powers[kPiece];
      for (u64 i = 0; i < count; ++i) {
        const i32 score = source[i];
        const i32 below = largest - (score < largest ? score : largest);
        const i32 fraction = below & 255;
        const i32 exponent = (below >> 8) < 9 ? below >> 8 : 9;
        const i32 mantissa =
            32640 - ((fraction * (21948 - ((fraction * 5664) >> 8))) >> 8);
        const i32 power = (mantissa + (64 << exponent)) >> (7 + exponent);
        powers[i] = score == kHidden ? 0 : power;
      }
      u32 sum = 0;
      for (u64 i = 0; i < count; ++i) sum += static_cast<u32>(powers[i]);
      for (u64 i = 0; i < count; ++i) to[i] = static_cast<u8>(powers[i]);
      total += sum;
    }
    store32(at(task.d, row, 0), static_cast<i32>(total));
    store32(at(task.d, row, 1), correction(largest > before ? largest - before : 0));
  }
}

// round(value * factor / 2^30) + added, modulo 2^32.
i32 folded(i32 value, i32 factor, i32 added) {
  const i64 product = static_cast<i64>(value) * factor + (i64{1} << 29);
  return static_cast<i32>(static_cast<u32>(product >> 30) + static_cast<u32>(added));
}

void fold(const VectorTask& task) {
  for (u64 row = 0; row < task.rows; ++row) {
    const i32 factor = load32(at(task.c, row, 1));
    for (u64 column = 0; column < task.columns; column += kPiece) {
      const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
      i32 added[kPiece];
      i32 state[kPiece];
      load(at(task.a, row, column), 4, count, added);
      load(at(task.b, row, column), 4, count, state);
      for (u64 i = 0; i < count; ++i) state[i] = folded(state[i], factor, added[i]);
      __builtin_memcpy(at(task.b, row, column), state, count * 4);
    }
    u8* total = at(task.b, row, task.columns);
    store32(total, folded(load32(total), factor, load32(at(task.c, row, 0))));
  }
}

void normalize(const VectorTask& task) {
  const i64 multiplier = task.immediates[0];
  const i64 shift = task.immediates[1];
  const u64 half = u64{1} << (shift - 1);
  for (u64 row = 0; row < task.rows; ++row) {
    const i64 sum = load32(at(task.c, row, 0));
    const u64 reciprocal = sum > 0 ? static_cast<u64>((multiplier << 8) / sum) : 0;
    for (u64 column = 0; column < task.columns; column += kPiece) {
      const u64 count = task.columns - column < kPiece ? task.columns - column : kPiece;
      i32 values[kPiece];
      load(at(task.a, row, column), 4, count, values);
      for (u64 i = 0; i < count; ++i) {  // unsigned: the product is modulo 2^64
        const u64 product = static_cast<u64>(static_cast<i64>(values[i])) * reciprocal + half;
        values[i] = sum > 0 ? clamp32(static_cast<i64>(product) >> shift) : 0;
      }
      store_saturated(values, 1, count, at(task.b, row, column));
    }
  }
}

u64 find_bad_scale(const u8* multipliers, const u8* shifts, u64 columns) {
  const i32* multiplier = reinterpret_cast<const i32*>(multipliers);
  const i32* shift = reinterpret_cast<const i32*>(shifts);
  u32 bad = 0;
  for (u64 i = 0; i < columns; ++i) {
    bad |= static_cast<u32>(multiplier[i] < 0);
    bad |= static_cast<u32>(static_cast<u32>(shift[i]) - 1 > 61);
  }
  if (bad == 0) return columns;
  u64 column = 0;
  while (multiplier[column] >= 0 && static_cast<u32>(shift[column]) - 1 <= 61) ++column;
  return column;
}

// --- the clocks of 16-byte lines

// Lines [first, end), of at most two blocks.
u32 latest_line(const LineClocks& clocks, u64 first, u64 end, u32 found) {
  if (first == end) return found;
  const u32 head = clocks.whole[first >> 6];
  const u32 tail = clocks.whole[(end - 1) >> 6];
  found = head > found ? head : found;
  found = tail > found ? tail : found;
  const u32* lines = clocks.lines;
  for (u64 line = first; line < end; ++line) found = lines[line] > found ? lines[line] : found;
  return found;
}

u32 latest_of(const LineClocks& clocks, u64 begin, u64 end, u32 found) {
  const u64 first = begin >> 4;
  const u64 last = ((end - 1) >> 4) + 1;
  const u64 first_block = (first + 63) >> 6;  // blocks that lie in the range whole
  const u64 last_block = last >> 6;
  if (first_block >= last_block) return latest_line(clocks, first, last, found);
  found = latest_line(clocks, first, first_block << 6, found);
  const u32* latest = clocks.latest;
  for (u64 block = first_block; block < last_block; ++block) {
    found = latest[block] > found ? latest[block] : found;
  }
  return latest_line(clocks, last_block << 6, last, found);
}

u32 latest(const LineClocks& clocks, u64 address, u64 pitch, u64 rows, u64 row_bytes) {
  if (pitch == row_bytes) return latest_of(clocks, address, address + rows * row_bytes, 0);
  u32 found = 0;
  for (u64 row = 0; row < rows; ++row, address += pitch) {
    found = latest_of(clocks, address, address + row_bytes, found);
  }
  return found;
}

void stamp_lines(const LineClocks& clocks, u64 first, u64 end, u32 clock) {
  if (first == end) return;
  clocks.latest[first >> 6] = clock;
  clocks.latest[(end - 1) >> 6] = clock;
  u32* lines = clocks.lines;
  for (u64 line = first; line < end; ++line) lines[line] = clock;
}

void stamp_range(const LineClocks& clocks, u64 begin, u64 end, u32 clock) {
  const u64 first = begin >> 4;
  const u64 last = ((end - 1) >> 4) + 1;
  const u64 first_block = (first + 63) >> 6;
  const u64 last_block = last >> 6;
  if (first_block >= last_block) {
    stamp_lines(clocks, first, last, clock);
    return;
  }
  stamp_lines(clocks, first, first_block << 6, clock);
  for (u64 block = first_block; block < last_block; ++block) {
    clocks.whole[block] = clock;
    clocks.latest[block] = clock;
  }
  stamp_lines(clocks, last_block << 6, last, clock);
}

void stamp(const LineClocks& clocks, u64 address, u64 pitch, u64 rows, u64 row_bytes, u32 clock) {
  if (pitch == row_bytes) {
    stamp_range(clocks, address, address + rows * row_bytes, clock);
    return;
  }
  for (u64 row = 0; row < rows; ++row, address += pitch) {
    stamp_range(clocks, address, address + row_bytes, clock);
  }
}

}  // namespace

}  // namespace girih
