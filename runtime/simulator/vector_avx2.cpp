// The kernels of instruction set "avx2".

#include "matmul_kernels.hpp"
#include "vector_kernels.hpp"

namespace girih {

const Kernels kAvx2Kernels = {
    "avx2",
    kMatmulAvx2.block_columns,
    kMatmulAvx2.packed_bytes,
    kMatmulAvx2.pack,
    kMatmulAvx2.multiply,
    kMatmulAvx2.multiply_direct,
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
