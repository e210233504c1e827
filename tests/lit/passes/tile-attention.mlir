// RUN: girih-opt %s --tile --target small | filecheck %s

// Scores live and die on chip: the result alone goes to DRAM. All scores of a query tile are there
// before its first exponential, so that the row's exact maximum is known.

// CHECK-NOT: role = "intermediate"
// CHECK:     "npu.loop"
// CHECK:     "npu.matmul"
// CHECK-NOT: "npu.dma_out"
// CHECK:     "npu.scores"
// CHECK-NOT: "npu.dma_out"
// CHECK:     "npu.exponential"
// CHECK-NOT: "npu.dma_out"
// CHECK:     "npu.matmul"
// CHECK-NOT: "npu.dma_out"
// CHECK:     "npu.normalize"
// CHECK:     "npu.dma_out"
func.func @main(%q: tensor<1x40x2x16xi8>, %k: tensor<1x40x2x16xi8>, %v: tensor<1x40x2x16xi8>) -> tensor<1x40x2x16xi8> attributes {mfm.npu} {
  %y = "mfm.integer_attention"(%q, %k, %v) {score_multiplier = 1073741824 : i64, score_shift = 34 : i64, output_multiplier = 1073741824 : i64, output_shift = 38 : i64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x40x2x16xi8>, tensor<1x40x2x16xi8>, tensor<1x40x2x16xi8>) -> tensor<1x40x2x16xi8>
  return %y : tensor<1x40x2x16xi8>
}
