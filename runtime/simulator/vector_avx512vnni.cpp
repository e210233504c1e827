// The kernels of instruction set "avx512vnni".

// GCC prefers 32-byte vectors by default even where it has 64-byte ones.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")
#endif

#include "matmul_kernels.hpp"
#include "vector_kernels.hpp"

namespace girih {

const Kernels kAvx512VnniKernels = {
    "avx512vnni",
    kMatmulAvx512Vnni.block_columns,
    kMatmulAvx512Vnni.packed_bytes,
    kMatmulAvx512Vnni.pack,
    kMatmulAvx512Vnni.multiply,
    kMatmulAvx512Vnni.multiply_direct,
    rescale,
    add,
    gelu,
    layer_norm,
    scores,
    exponential,
    fold,
    normalize,
    multiply_elements,
    find_bad_scale,
    latest,
    stamp,
};

}  // namespace girih
