// RUN: girih-opt %s --recognize-attention | filecheck %s

// Scaled scores, their softmax, times the values: one operation over (batch, length, heads, depth).
// CHECK-LABEL: func.func @plain(
// CHECK-NOT: mfm.softmax
// CHECK: "mfm.attention"
// CHECK-SAME: scale = 5.000000e-01
// CHECK-SAME: -> tensor<1x3x2x4xf32>
func.func @plain(%q: tensor<2x3x8xf32>, %k: tensor<2x5x8xf32>, %v: tensor<2x5x4xf32>) -> tensor<2x3x4xf32> {
  %s = "mfm.matmul"(%q, %k) {transposed = 1 : i64} : (tensor<2x3x8xf32>, tensor<2x5x8xf32>) -> tensor<2x3x5xf32>
  %t = "mfm.multiply_scalar"(%s) {factor = 0.5 : f64} : (tensor<2x3x5xf32>) -> tensor<2x3x5xf32>
  %w = "mfm.softmax"(%t) : (tensor<2x3x5xf32>) -> tensor<2x3x5xf32>
  %y = "mfm.matmul"(%w, %v) {transposed = 0 : i64} : (tensor<2x3x5xf32>, tensor<2x5x4xf32>) -> tensor<2x3x4xf32>
  return %y : tensor<2x3x4xf32>
}

// A mask that selects, with a very low score where it is false.
// CHECK-LABEL: func.func @selected(
// CHECK: "mfm.attention"({{.*}}, %arg3)
func.func @selected(%q: tensor<2x3x8xf32>, %k: tensor<2x5x8xf32>, %v: tensor<2x5x4xf32>, %m: tensor<3x5xi1>) -> tensor<2x3x4xf32> {
  %h = "mfm.parameter"() {parameter = "scalar.f32.-1e+09"} : () -> tensor<f32>
  %s = "mfm.matmul"(%q, %k) {transposed = 1 : i64} : (tensor<2x3x8xf32>, tensor<2x5x8xf32>) -> tensor<2x3x5xf32>
  %t = "mfm.select"(%m, %s, %h) : (tensor<3x5xi1>, tensor<2x3x5xf32>, tensor<f32>) -> tensor<2x3x5xf32>
  %w = "mfm.softmax"(%t) : (tensor<2x3x5xf32>) -> tensor<2x3x5xf32>
  %y = "mfm.matmul"(%w, %v) {transposed = 0 : i64} : (tensor<2x3x5xf32>, tensor<2x5x4xf32>) -> tensor<2x3x4xf32>
  return %y : tensor<2x3x4xf32>
}

// Scores that somebody else reads, too, must be computed: nothing is gained.
// CHECK-LABEL: func.func @weights_are_returned(
// CHECK-NOT: mfm.attention
// CHECK: return
func.func @weights_are_returned(%q: tensor<2x3x8xf32>, %k: tensor<2x5x8xf32>, %v: tensor<2x5x4xf32>) -> (tensor<2x3x4xf32>, tensor<2x3x5xf32>) {
  %s = "mfm.matmul"(%q, %k) {transposed = 1 : i64} : (tensor<2x3x8xf32>, tensor<2x5x8xf32>) -> tensor<2x3x5xf32>
  %w = "mfm.softmax"(%s) : (tensor<2x3x5xf32>) -> tensor<2x3x5xf32>
  %y = "mfm.matmul"(%w, %v) {transposed = 0 : i64} : (tensor<2x3x5xf32>, tensor<2x5x4xf32>) -> tensor<2x3x4xf32>
  return %y, %w : tensor<2x3x4xf32>, tensor<2x3x5xf32>
}

// A mask that is added before the scale is scaled with the scores: not attention's own.
// CHECK-LABEL: func.func @scaled_mask(
// CHECK-NOT: mfm.attention
// CHECK: return
func.func @scaled_mask(%q: tensor<2x3x8xf32>, %k: tensor<2x5x8xf32>, %v: tensor<2x5x4xf32>, %m: tensor<3x5xf32>) -> tensor<2x3x4xf32> {
  %s = "mfm.matmul"(%q, %k) {transposed = 1 : i64} : (tensor<2x3x8xf32>, tensor<2x5x8xf32>) -> tensor<2x3x5xf32>
  %a = "mfm.add"(%s, %m) : (tensor<2x3x5xf32>, tensor<3x5xf32>) -> tensor<2x3x5xf32>
  %t = "mfm.multiply_scalar"(%a) {factor = 0.5 : f64} : (tensor<2x3x5xf32>) -> tensor<2x3x5xf32>
  %w = "mfm.softmax"(%t) : (tensor<2x3x5xf32>) -> tensor<2x3x5xf32>
  %y = "mfm.matmul"(%w, %v) {transposed = 0 : i64} : (tensor<2x3x5xf32>, tensor<2x5x4xf32>) -> tensor<2x3x4xf32>
  return %y : tensor<2x3x4xf32>
}
