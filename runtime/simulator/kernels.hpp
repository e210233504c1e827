// The inner loops, one table of functions per instruction set. This header is included by files
// compiled for different processors, so it holds declarations only: the linker keeps one copy of
// an inline function, and it might be the one that this processor can not run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace girih {

struct MatmulTask {
  const std::uint8_t* a;  // rows x depth, int8 or uint8
  std::uint64_t a_pitch;
  bool a_signed;
  const std::uint8_t* packed;  // b, as the same table's pack made it
  std::uint8_t* c;             // rows x columns int32
  std::uint64_t c_pitch;
  std::uint64_t rows;
  std::uint64_t columns;
  std::uint64_t depth;
  bool accumulate;
};

// b as the instruction has it: depth x columns, or columns x depth when transposed.
struct PackTask {
  const std::uint8_t* b;
  std::uint64_t pitch;
  std::uint64_t columns;
  std::uint64_t depth;
  bool transposed;
  std::uint8_t* packed;
};

// Pointers to rows `pitch` bytes apart. `bytes` is the size of an element; sources of one byte are
// int8.
struct Rows {
  std::uint8_t* data;
  std::uint64_t pitch;
  std::uint32_t bytes;
};

struct VectorTask {
  std::uint64_t rows;
  std::uint64_t columns;
  Rows a;
  Rows b;
  Rows c;
  Rows d;
  bool masked;
  bool causal;
  bool per_column;  // rescale: parameters in c
  bool uncentered;  // layer_norm: no mean and no offsets
  std::int64_t immediates[8];
};

// When one engine last read or wrote each 16-byte line of a memory. Accesses are mostly long, so
// blocks of 64 lines have clocks of their own: a line's clock is the later of its own in `lines` and
// its block's in `whole`; `latest` is the latest of all lines of the block.
struct LineClocks {
  std::uint32_t* lines;  // null: this engine never touches this memory so
  std::uint32_t* whole;
  std::uint32_t* latest;
};

struct Kernels {
  const char* name;

  // --- matmul. b is packed in blocks of `block_columns` outputs; blocks are independent.
  std::uint64_t block_columns;
  std::uint64_t (*packed_bytes)(std::uint64_t columns, std::uint64_t depth);
  void (*pack)(const PackTask& task, std::uint64_t block_begin, std::uint64_t block_end);
  void (*multiply)(const MatmulTask& task, std::uint64_t row_begin, std::uint64_t row_end,
                   std::uint64_t block_begin, std::uint64_t block_end);
  // A few rows times a transposed b, without packing; null where packing is as good.
  void (*multiply_direct)(const MatmulTask& task, const std::uint8_t* b, std::uint64_t b_pitch);

  // --- vector. Each does a whole tile; the meaning of a, b, c, d is the instruction's.
  void (*rescale)(const VectorTask& task);
  void (*add)(const VectorTask& task);
  void (*gelu)(const VectorTask& task);
  void (*layer_norm)(const VectorTask& task);
  void (*scores)(const VectorTask& task);
  void (*exponential)(const VectorTask& task);
  void (*fold)(const VectorTask& task);
  void (*normalize)(const VectorTask& task);
  void (*multiply_elements)(const VectorTask& task);
  // Index of the first column whose multiplier is negative or whose shift is outside 1 .. 62, or
  // `columns`.
  std::uint64_t (*find_bad_scale)(const std::uint8_t* multipliers, const std::uint8_t* shifts,
                                  std::uint64_t columns);

  // --- order. The latest clock of the lines that rows of bytes touch; and to set them to a clock
  // that is later than all before.
  std::uint32_t (*latest)(const LineClocks& clocks, std::uint64_t address, std::uint64_t pitch,
                          std::uint64_t rows, std::uint64_t row_bytes);
  void (*stamp)(const LineClocks& clocks, std::uint64_t address, std::uint64_t pitch,
                std::uint64_t rows, std::uint64_t row_bytes, std::uint32_t clock);
};

extern const Kernels kScalarKernels;
#if GIRIH_X86_KERNELS
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512VnniKernels;
#endif

// The table of a name ("scalar", "avx2", "avx512vnni"), or the best for this processor when the
// name is empty; null when there is none of that name or this processor lacks its instructions.
const Kernels* find_kernels(const char* name);

}  // namespace girih
