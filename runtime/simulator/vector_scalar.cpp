// The kernels of instruction set "scalar".

#include "matmul_kernels.hpp"
#include "vector_kernels.hpp"

namespace girih {

const Kernels kScalarKernels = {
    "scalar",
    kMatmulScalar.block_columns,
    kMatmulScalar.packed_bytes,
    kMatmulScalar.pack,
    kMatmulScalar.multiply,
    kMatmulScalar.multiply_direct,
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
