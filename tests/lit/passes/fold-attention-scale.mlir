// RUN: girih-opt %s --fold-attention-scale | filecheck %s

// A factor on the query, split into heads after it, becomes part of the scale: 0.5 x 0.25.
// CHECK-LABEL: func.func @query(
// CHECK-NEXT: %[[Q:.*]] = "mfm.reshape"(%arg0)
// CHECK-NEXT: "mfm.attention"(%[[Q]], %arg1, %arg1)
// CHECK-SAME: scale = 1.250000e-01
func.func @query(%q: tensor<1x3x8xf32>, %k: tensor<1x5x2x4xf32>) -> tensor<1x3x2x4xf32> {
  %0 = "mfm.multiply_scalar"(%q) {factor = 0.25 : f64} : (tensor<1x3x8xf32>) -> tensor<1x3x8xf32>
  %1 = "mfm.reshape"(%0) : (tensor<1x3x8xf32>) -> tensor<1x3x2x4xf32>
  %2 = "mfm.attention"(%1, %k, %k) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x3x2x4xf32>, tensor<1x5x2x4xf32>, tensor<1x5x2x4xf32>) -> tensor<1x3x2x4xf32>
  return %2 : tensor<1x3x2x4xf32>
}

// A scaled key that is also the value must stay scaled.
// CHECK-LABEL: func.func @shared(
// CHECK-NEXT: %[[K:.*]] = "mfm.multiply_scalar"(%arg1)
// CHECK-NEXT: "mfm.attention"(%arg0, %[[K]], %[[K]])
// CHECK-SAME: scale = 5.000000e-01
func.func @shared(%q: tensor<1x3x2x4xf32>, %k: tensor<1x5x2x4xf32>) -> tensor<1x3x2x4xf32> {
  %0 = "mfm.multiply_scalar"(%k) {factor = 0.25 : f64} : (tensor<1x5x2x4xf32>) -> tensor<1x5x2x4xf32>
  %1 = "mfm.attention"(%q, %0, %0) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x3x2x4xf32>, tensor<1x5x2x4xf32>, tensor<1x5x2x4xf32>) -> tensor<1x3x2x4xf32>
  return %1 : tensor<1x3x2x4xf32>
}
