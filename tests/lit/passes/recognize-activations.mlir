// RUN: girih-opt %s --recognize-activations | filecheck %s

// A sigmoid of 1.702 x, times x.
// CHECK-LABEL: func.func @quick_gelu(
// CHECK-NEXT: %[[Y:.*]] = "mfm.unary"(%arg0) {function = "quick_gelu"}
// CHECK-NEXT: return %[[Y]]
func.func @quick_gelu(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = "mfm.multiply_scalar"(%x) {factor = 1.702 : f64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %1 = "mfm.unary"(%0) {function = "sigmoid"} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %2 = "mfm.binary"(%x, %1) {function = "multiply"} : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return %2 : tensor<2x3xf32>
}

// The half of x plus its error function, in any order.
// CHECK-LABEL: func.func @gelu(
// CHECK-NEXT: %[[Y:.*]] = "mfm.gelu"(%arg0) {approximate = "none"}
// CHECK-NEXT: return %[[Y]]
func.func @gelu(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = "mfm.multiply_scalar"(%x) {factor = 0.70710678118654757 : f64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %1 = "mfm.unary"(%0) {function = "erf"} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %2 = "mfm.binary"(%1, %x) {function = "multiply"} : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  %3 = "mfm.add"(%2, %x) : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  %4 = "mfm.multiply_scalar"(%3) {factor = 0.5 : f64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %4 : tensor<2x3xf32>
}

// What reads two values is not a function of one.
// CHECK-LABEL: func.func @gate(
// CHECK-NEXT: "mfm.unary"(%arg1) {function = "sigmoid"}
// CHECK-NEXT: "mfm.binary"
func.func @gate(%x: tensor<2x3xf32>, %y: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = "mfm.unary"(%y) {function = "sigmoid"} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %1 = "mfm.binary"(%x, %0) {function = "multiply"} : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return %1 : tensor<2x3xf32>
}
