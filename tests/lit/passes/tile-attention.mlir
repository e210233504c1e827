// RUN: girih-opt %s --tile --target small | filecheck %s

// Scores and weights live and die on chip: the result alone goes to DRAM. Of the second tile of
// queries the weights are made before those of the first are used, so that the array never waits
// for them; what both have summed so far waits in the scratchpad.

// CHECK-NOT: role = "intermediate"
// CHECK:     "npu.loop"
// CHECK-NOT: "npu.dma_out"
// CHECK:     "npu.matmul"
// CHECK:     "npu.scores"
// CHECK:     "npu.exponential"
// CHECK:     "npu.matmul"
// CHECK:     "npu.scores"
// CHECK:     "npu.exponential"
// CHECK:     "npu.matmul"
// CHECK:     "npu.fold"
// CHECK:     "npu.normalize"
// CHECK:     "npu.dma_out"
func.func @main(%q: tensor<1x40x2x16xi8>, %k: tensor<1x40x2x16xi8>, %v: tensor<1x40x2x16xi8>) -> tensor<1x40x2x16xi8> attributes {mfm.npu} {
  %y = "mfm.integer_attention"(%q, %k, %v) {score_multiplier = 1073741824 : i64, score_shift = 34 : i64, output_multiplier = 1073741824 : i64, output_shift = 38 : i64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x40x2x16xi8>, tensor<1x40x2x16xi8>, tensor<1x40x2x16xi8>) -> tensor<1x40x2x16xi8>
  return %y : tensor<1x40x2x16xi8>
}
