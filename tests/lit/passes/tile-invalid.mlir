// RUN: not girih-opt %s --tile --target small 2>&1 | filecheck %s

// One row is the smallest tile of a layer norm, and 60000 channels with their scales exceed 128 KiB.

// CHECK: target 'small' is too small for norm (mfm.integer_layer_norm)
// CHECK-NOT: Traceback
func.func @main(%x: tensor<2x60000xi16>) -> tensor<2x60000xi8> attributes {mfm.npu} {
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<2x60000xi32>
  %y = "mfm.integer_layer_norm"(%x, %p) {epsilon = 1 : i64, shift = 20 : i64} : (tensor<2x60000xi16>, tensor<2x60000xi32>) -> tensor<2x60000xi8> loc("norm")
  return %y : tensor<2x60000xi8>
}
