// RUN: girih-opt %s --boolean-masks | filecheck %s

// Zero or very low, by a condition: the condition is the mask.
// CHECK-LABEL: func.func @selected(
// CHECK-NEXT: "mfm.attention"(%arg0, %arg0, %arg0, %arg1)
func.func @selected(%q: tensor<1x3x2x8xf32>, %c: tensor<3x3xi1>) -> tensor<1x3x2x8xf32> {
  %z = "mfm.parameter"() {parameter = "scalar.f32.0.0"} : () -> tensor<f32>
  %h = "mfm.parameter"() {parameter = "scalar.f32.-inf"} : () -> tensor<f32>
  %m = "mfm.select"(%c, %z, %h) : (tensor<3x3xi1>, tensor<f32>, tensor<f32>) -> tensor<3x3xf32>
  %y = "mfm.attention"(%q, %q, %q, %m) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>} : (tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<3x3xf32>) -> tensor<1x3x2x8xf32>
  return %y : tensor<1x3x2x8xf32>
}

// (1 - m) times a very low number, m made of a condition, as older models write it.
// CHECK-LABEL: func.func @inverted(
// CHECK-NEXT: "mfm.attention"(%arg0, %arg0, %arg0, %arg1)
func.func @inverted(%q: tensor<1x3x2x8xf32>, %c: tensor<3x3xi1>) -> tensor<1x3x2x8xf32> {
  %one = "mfm.parameter"() {parameter = "scalar.f32.1.0"} : () -> tensor<f32>
  %f = "mfm.convert"(%c) : (tensor<3x3xi1>) -> tensor<3x3xf32>
  %r = "mfm.binary"(%one, %f) {function = "subtract"} : (tensor<f32>, tensor<3x3xf32>) -> tensor<3x3xf32>
  %m = "mfm.multiply_scalar"(%r) {factor = -1.0e+09 : f64} : (tensor<3x3xf32>) -> tensor<3x3xf32>
  %y = "mfm.attention"(%q, %q, %q, %m) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>} : (tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<3x3xf32>) -> tensor<1x3x2x8xf32>
  return %y : tensor<1x3x2x8xf32>
}

// Two masks that are added hide what either hides.
// CHECK-LABEL: func.func @both(
// CHECK: %[[M:.*]] = "mfm.binary"(%arg1, %arg2) {function = "and"}
// CHECK-NEXT: "mfm.attention"(%arg0, %arg0, %arg0, %[[M]])
func.func @both(%q: tensor<1x3x2x8xf32>, %c: tensor<3x3xi1>, %d: tensor<3x3xi1>) -> tensor<1x3x2x8xf32> {
  %z = "mfm.parameter"() {parameter = "scalar.f32.0.0"} : () -> tensor<f32>
  %h = "mfm.parameter"() {parameter = "scalar.f32.-1e+09"} : () -> tensor<f32>
  %a = "mfm.select"(%c, %z, %h) : (tensor<3x3xi1>, tensor<f32>, tensor<f32>) -> tensor<3x3xf32>
  %b = "mfm.select"(%d, %z, %h) : (tensor<3x3xi1>, tensor<f32>, tensor<f32>) -> tensor<3x3xf32>
  %m = "mfm.add"(%a, %b) : (tensor<3x3xf32>, tensor<3x3xf32>) -> tensor<3x3xf32>
  %y = "mfm.attention"(%q, %q, %q, %m) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>} : (tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<3x3xf32>) -> tensor<1x3x2x8xf32>
  return %y : tensor<1x3x2x8xf32>
}

// A bias holds other numbers than these two: it stays.
// CHECK-LABEL: func.func @bias(
// CHECK: "mfm.attention"({{.*}} tensor<3x3xf32>)
func.func @bias(%q: tensor<1x3x2x8xf32>) -> tensor<1x3x2x8xf32> {
  %m = "mfm.parameter"() {parameter = "positions"} : () -> tensor<3x3xf32>
  %y = "mfm.attention"(%q, %q, %q, %m) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>} : (tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32>, tensor<3x3xf32>) -> tensor<1x3x2x8xf32>
  return %y : tensor<1x3x2x8xf32>
}

// A bias and a mask that are added to scores: the bias is added, the mask chooses.
// CHECK-LABEL: func.func @scores(
// CHECK: %[[S:.*]] = "mfm.add"(%arg0, %arg2)
// CHECK: %[[T:.*]] = "mfm.select"(%arg1, %[[S]], %{{.*}})
// CHECK-NEXT: "mfm.softmax"(%[[T]])
func.func @scores(%s: tensor<2x3x3xf32>, %c: tensor<3x3xi1>, %bias: tensor<3x3xf32>) -> tensor<2x3x3xf32> {
  %z = "mfm.parameter"() {parameter = "scalar.f32.0.0"} : () -> tensor<f32>
  %h = "mfm.parameter"() {parameter = "scalar.f32.-3.4e+38"} : () -> tensor<f32>
  %m = "mfm.select"(%c, %z, %h) : (tensor<3x3xi1>, tensor<f32>, tensor<f32>) -> tensor<3x3xf32>
  %b = "mfm.add"(%bias, %m) : (tensor<3x3xf32>, tensor<3x3xf32>) -> tensor<3x3xf32>
  %t = "mfm.add"(%s, %b) : (tensor<2x3x3xf32>, tensor<3x3xf32>) -> tensor<2x3x3xf32>
  %w = "mfm.softmax"(%t) : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  return %w : tensor<2x3x3xf32>
}
