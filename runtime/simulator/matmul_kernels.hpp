// The matmul functions of one instruction set, to be put into its Kernels table.
#pragma once

#include "kernels.hpp"

namespace girih {

struct MatmulKernels {
  std::uint64_t block_columns;
  std::uint64_t (*packed_bytes)(std::uint64_t columns, std::uint64_t depth);
  void (*pack)(const PackTask& task, std::uint64_t block_begin, std::uint64_t block_end);
  void (*multiply)(const MatmulTask& task, std::uint64_t row_begin, std::uint64_t row_end,
                   std::uint64_t block_begin, std::uint64_t block_end);
  void (*multiply_direct)(const MatmulTask& task, const std::uint8_t* b, std::uint64_t b_pitch);
};

extern const MatmulKernels kMatmulScalar;
#if GIRIH_X86_KERNELS
extern const MatmulKernels kMatmulAvx2;
extern const MatmulKernels kMatmulAvx512Vnni;
#endif

}  // namespace girih
