// RUN: girih-opt %s --tile --target small | filecheck %s

// A norm and the product that reads it: what is normalized never goes to DRAM.

// CHECK-NOT: role = "intermediate"
// CHECK:     "npu.layer_norm"
// CHECK:     "npu.matmul"
// CHECK:     operation = "integer_layer_norm + integer_linear"
func.func @normed(%x: tensor<64x32xi16>) -> tensor<64x48xi8> attributes {mfm.npu} {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<48x32xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x48xi32>
  %n = "mfm.parameter"() {parameter = "n"} : () -> tensor<2x32xi32>
  %0 = "mfm.integer_layer_norm"(%x, %n) {epsilon = 40 : i64, shift = 20 : i64} : (tensor<64x32xi16>, tensor<2x32xi32>) -> tensor<64x32xi8>
  %y = "mfm.integer_linear"(%0, %w, %p) : (tensor<64x32xi8>, tensor<48x32xi8>, tensor<3x48xi32>) -> tensor<64x48xi8>
  return %y : tensor<64x48xi8>
}
