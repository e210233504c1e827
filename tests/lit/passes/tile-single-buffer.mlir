// RUN: girih-opt %s --tile=double_buffer=false --target small | filecheck %s

// Without double buffering, no buffer of a product by itself has a second slot.

// CHECK-NOT: memref<2x
// CHECK:     "npu.matmul"
func.func @single(%x: tensor<256x512xi8>) -> tensor<256x512xi8> attributes {mfm.npu} {
  %w = "mfm.parameter"() {parameter = "v"} : () -> tensor<512x512xi8>
  %p = "mfm.parameter"() {parameter = "q"} : () -> tensor<3x512xi32>
  %y = "mfm.integer_linear"(%x, %w, %p) : (tensor<256x512xi8>, tensor<512x512xi8>, tensor<3x512xi32>) -> tensor<256x512xi8>
  return %y : tensor<256x512xi8>
}
