// RUN: girih-opt %s --calibrate=random=1 --quantize | filecheck %s

// A gelu that linear operations alone read has its 0 near the lower end of int8.
// CHECK-LABEL: func.func @linear(
// CHECK: "mfm.integer_gelu"
// CHECK-SAME: offset = -{{[1-9]}}
func.func @linear(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<4x4xf32>
  %0 = "mfm.gelu"(%x) {approximate = "none"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// So has any other function that is a ramp but near 0, for all that it has another name.
// CHECK-LABEL: func.func @silu(
// CHECK: "mfm.integer_gelu"
// CHECK-SAME: offset = -{{[1-9]}}
func.func @silu(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<4x4xf32>
  %0 = "mfm.unary"(%x) {function = "silu"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// What goes as far down as up has none.
// CHECK-LABEL: func.func @negate(
// CHECK: "mfm.integer_multiply"
// CHECK-NOT: offset
func.func @negate(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<4x4xf32>
  %0 = "mfm.unary"(%x) {function = "negate"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// A reshape on the way moves integers as they are.
// CHECK-LABEL: func.func @reshape(
// CHECK: "mfm.integer_gelu"
// CHECK-SAME: offset = -{{[1-9]}}
// CHECK: "mfm.reshape"
func.func @reshape(%x: tensor<2x4xf32>) -> tensor<4x4xf32> {
  %w = "mfm.parameter"() {parameter = "v"} : () -> tensor<4x2xf32>
  %0 = "mfm.gelu"(%x) {approximate = "none"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.reshape"(%0) : (tensor<2x4xf32>) -> tensor<4x2xf32>
  %2 = "mfm.linear"(%1, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<4x2xf32>, tensor<4x2xf32>) -> tensor<4x4xf32>
  return %2 : tensor<4x4xf32>
}

// A convolution pads with zeros, which an offset would make another number.
// CHECK-LABEL: func.func @conv1d(
// CHECK: "mfm.integer_gelu"
// CHECK-SAME: offset = 0
func.func @conv1d(%x: tensor<1x2x4xf32>) -> tensor<1x2x4xf32> {
  %k = "mfm.parameter"() {parameter = "k"} : () -> tensor<4x12xf32>
  %0 = "mfm.gelu"(%x) {approximate = "none"} : (tensor<1x2x4xf32>) -> tensor<1x2x4xf32>
  %1 = "mfm.conv1d"(%0, %k) {operandSegmentSizes = array<i32: 1, 1, 0>, kernel = 3 : i64, stride = 1 : i64, padding = 1 : i64} : (tensor<1x2x4xf32>, tensor<4x12xf32>) -> tensor<1x2x4xf32>
  return %1 : tensor<1x2x4xf32>
}

// One other reader is enough: a sum knows of no offset.
// CHECK-LABEL: func.func @added(
// CHECK: "mfm.integer_gelu"
// CHECK-SAME: offset = 0
func.func @added(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<4x4xf32>
  %0 = "mfm.gelu"(%x) {approximate = "none"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  %2 = "mfm.add"(%0, %1) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %2 : tensor<2x4xf32>
}

// Nor does attention, which takes 8 bits too.
// CHECK-LABEL: func.func @attention(
// CHECK: "mfm.integer_gelu"
// CHECK-SAME: offset = 0
func.func @attention(%x: tensor<1x2x1x4xf32>) -> tensor<1x2x1x4xf32> {
  %0 = "mfm.gelu"(%x) {approximate = "none"} : (tensor<1x2x1x4xf32>) -> tensor<1x2x1x4xf32>
  %1 = "mfm.attention"(%x, %x, %0) {operandSegmentSizes = array<i32: 1, 1, 1, 0>, scale = 0.5 : f64, causal = 0 : i64} : (tensor<1x2x1x4xf32>, tensor<1x2x1x4xf32>, tensor<1x2x1x4xf32>) -> tensor<1x2x1x4xf32>
  return %1 : tensor<1x2x1x4xf32>
}

// A state that another call reads, and writes, has one meaning in all of them.
// CHECK-LABEL: func.func @state(
// CHECK: "mfm.integer_gelu"
// CHECK-SAME: offset = 0
func.func @state(%x: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32> {mfm.state = "s"}) {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<4x4xf32>
  %0 = "mfm.gelu"(%x) {approximate = "none"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %1, %0 : tensor<2x4xf32>, tensor<2x4xf32>
}

// A weight that is computed is no integer, and its product none: it reads floats.
// CHECK-LABEL: func.func @computed(
// CHECK: "mfm.integer_gelu"
// CHECK-SAME: offset = 0
// CHECK: "mfm.dequantize"
func.func @computed(%x: tensor<2x4xf32>, %w: tensor<4x4xf32>) -> tensor<2x4xf32> {
  %0 = "mfm.gelu"(%x) {approximate = "none"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}
