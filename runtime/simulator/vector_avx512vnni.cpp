// The kernels of instruction set "avx512vnni".

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
    normalize,
    find_bad_scale,
    latest,
    stamp,
};

}  // namespace girih
