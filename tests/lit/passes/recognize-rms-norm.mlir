// RUN: girih-opt %s --recognize-rms-norm | filecheck %s

// The root of the mean square, and gamma, a weight, on its left.
// CHECK-LABEL: func.func @norm(
// CHECK-NEXT: %[[G:.*]] = "mfm.parameter"() {parameter = "gamma"}
// CHECK-NEXT: %[[Y:.*]] = "mfm.rms_norm"(%arg0, %[[G]]) {epsilon = {{9.99.*E-7}}
// CHECK-NEXT: return %[[Y]]
func.func @norm(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %g = "mfm.parameter"() {parameter = "gamma"} : () -> tensor<8xf32>
  %e = "mfm.parameter"() {parameter = "scalar.f32.1e-06"} : () -> tensor<f32>
  %c = "mfm.parameter"() {parameter = "scalar.f32.8.0"} : () -> tensor<f32>
  %0 = "mfm.binary"(%x, %x) {function = "multiply"} : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  %1 = "mfm.reduce"(%0) {function = "sum", axes = array<i64: 1>} : (tensor<2x8xf32>) -> tensor<2xf32>
  %2 = "mfm.binary"(%1, %c) {function = "divide"} : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
  %3 = "mfm.reshape"(%2) : (tensor<2xf32>) -> tensor<2x1xf32>
  %4 = "mfm.add"(%3, %e) : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %5 = "mfm.unary"(%4) {function = "rsqrt"} : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %6 = "mfm.binary"(%x, %5) {function = "multiply"} : (tensor<2x8xf32>, tensor<2x1xf32>) -> tensor<2x8xf32>
  %7 = "mfm.binary"(%g, %6) {function = "multiply"} : (tensor<8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  return %7 : tensor<2x8xf32>
}

// A mean over another number than the width is another function.
// CHECK-LABEL: func.func @other_divisor(
// CHECK-NOT: mfm.rms_norm
// CHECK: return
func.func @other_divisor(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %e = "mfm.parameter"() {parameter = "scalar.f32.1e-06"} : () -> tensor<f32>
  %c = "mfm.parameter"() {parameter = "scalar.f32.7.0"} : () -> tensor<f32>
  %0 = "mfm.binary"(%x, %x) {function = "multiply"} : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  %1 = "mfm.reduce"(%0) {function = "sum", axes = array<i64: 1>} : (tensor<2x8xf32>) -> tensor<2xf32>
  %2 = "mfm.binary"(%1, %c) {function = "divide"} : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
  %3 = "mfm.reshape"(%2) : (tensor<2xf32>) -> tensor<2x1xf32>
  %4 = "mfm.add"(%3, %e) : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %5 = "mfm.unary"(%4) {function = "rsqrt"} : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %6 = "mfm.binary"(%x, %5) {function = "multiply"} : (tensor<2x8xf32>, tensor<2x1xf32>) -> tensor<2x8xf32>
  return %6 : tensor<2x8xf32>
}
