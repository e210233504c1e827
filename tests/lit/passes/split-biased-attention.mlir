// RUN: girih-opt %s --split-biased-attention | filecheck %s

// Two products with the heads in front, the bias added to the scores between them.
// CHECK-LABEL: func.func @biased(
// CHECK: %[[S:.*]] = "mfm.matmul"({{.*}}) {transposed = 1 : i64}
// CHECK-SAME: -> tensor<1x2x3x3xf32>
// CHECK: %[[T:.*]] = "mfm.multiply_scalar"(%[[S]]) {factor = 5.000000e-01
// CHECK: %[[B:.*]] = "mfm.add"(%[[T]], %{{.*}})
// CHECK: %[[W:.*]] = "mfm.softmax"(%[[B]])
// CHECK: "mfm.matmul"(%[[W]], %{{.*}}) {transposed = 0 : i64}
func.func @biased(%q: tensor<1x3x2x8xf32>) -> tensor<1x3x2x8xf32> {
  %m = "mfm.parameter"() {parameter = "positions"} : () -> tensor<3x3xf32>
  %y = "mfm.attention"(%q, %q, %q, %m) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>} : (tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<3x3xf32>) -> tensor<1x3x2x8xf32>
  return %y : tensor<1x3x2x8xf32>
}

// Without a bias there is nothing to split; nor is there where the mask is true or false.
// CHECK-LABEL: func.func @masked(
// CHECK-NEXT: "mfm.attention"
// CHECK-NEXT: return
func.func @masked(%q: tensor<1x3x2x8xf32>, %m: tensor<3x3xi1>) -> tensor<1x3x2x8xf32> {
  %y = "mfm.attention"(%q, %q, %q, %m) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>} : (tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<3x3xi1>) -> tensor<1x3x2x8xf32>
  return %y : tensor<1x3x2x8xf32>
}
