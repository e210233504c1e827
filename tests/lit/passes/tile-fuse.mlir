// RUN: girih-opt %s --tile --target small | filecheck %s
// RUN: girih-opt %s --tile=fuse=false --target small | filecheck %s --check-prefix=APART

// The gelu works on the product's tile before it leaves the chip: there is no intermediate.

// CHECK-NOT: role = "intermediate"
// CHECK:     "npu.matmul"
// CHECK-NEXT: "npu.rescale"
// CHECK-NEXT: "npu.gelu"
// CHECK-NEXT: "npu.dma_out"
// CHECK:     operation = "integer_linear + integer_gelu"

// APART:     role = "intermediate"
// APART:     "npu.matmul"
// APART-NEXT: "npu.rescale"
// APART-NEXT: "npu.dma_out"
// APART:     "npu.gelu"
// APART:     operation = "integer_linear"
// APART-SAME: operation = "integer_gelu"
func.func @main(%x: tensor<64x32xi8>) -> tensor<64x48xi8> attributes {mfm.npu} {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<48x32xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x48xi32>
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<2x48xi32>
  %t = "mfm.parameter"() {parameter = "t"} : () -> tensor<1024xi32>
  %0 = "mfm.integer_linear"(%x, %w, %p) : (tensor<64x32xi8>, tensor<48x32xi8>, tensor<3x48xi32>) -> tensor<64x48xi16>
  %y = "mfm.integer_gelu"(%0, %g, %t) {index_multiplier = 1073741824 : i64, index_shift = 34 : i64, offset = -120 : i64} : (tensor<64x48xi16>, tensor<2x48xi32>, tensor<1024xi32>) -> tensor<64x48xi8>
  return %y : tensor<64x48xi8>
}
