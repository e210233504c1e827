// RUN: girih-opt %s --split-hidden=groups=2,least=1 | filecheck %s
// RUN: girih-opt %s --split-hidden | filecheck %s --check-prefix SMALL

// Each group is added to what the one before it left; the last bias comes with the first of them.
// CHECK-LABEL: func.func @mlp(
// CHECK: %[[N:.*]] = "mfm.layer_norm"(%arg0,
// CHECK: %[[F:.*]] = "mfm.linear"(%[[N]], %{{.*}}, %{{.*}}) {{.*}} : (tensor<4x6xf32>, tensor<4x6xf32>, tensor<4xf32>)
// CHECK: %[[G:.*]] = "mfm.gelu"(%[[F]]) {approximate = "none"}
// CHECK: %[[L:.*]] = "mfm.linear"(%[[G]], %{{.*}}, %{{.*}}) {{.*}} : (tensor<4x4xf32>, tensor<6x4xf32>, tensor<6xf32>)
// CHECK: %[[T:.*]] = "mfm.add"(%arg0, %[[L]])
// CHECK: %[[M:.*]] = "mfm.linear"(%{{.*}}, %{{.*}}) {{.*}} : (tensor<4x4xf32>, tensor<6x4xf32>) -> tensor<4x6xf32>
// CHECK: %[[Y:.*]] = "mfm.add"(%[[T]], %[[M]])
// CHECK: return %[[Y]]
// What fits anywhere is left whole.
// SMALL-LABEL: func.func @mlp(
// SMALL-COUNT-2: "mfm.linear"
// SMALL-NOT: "mfm.linear"
// SMALL: return
func.func @mlp(%x: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<6xf32>
  %v = "mfm.parameter"() {parameter = "v"} : () -> tensor<8x6xf32>
  %a = "mfm.parameter"() {parameter = "a"} : () -> tensor<8xf32>
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<6x8xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<6xf32>
  %n = "mfm.layer_norm"(%x, %g, %g) {epsilon = 1.0e-5 : f64} : (tensor<4x6xf32>, tensor<6xf32>, tensor<6xf32>) -> tensor<4x6xf32>
  %f = "mfm.linear"(%n, %v, %a) {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<4x6xf32>, tensor<8x6xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %h = "mfm.gelu"(%f) {approximate = "none"} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %l = "mfm.linear"(%h, %w, %b) {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<4x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x6xf32>
  %y = "mfm.add"(%x, %l) : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// Weights that are read elsewhere too would be stored twice.
// CHECK-LABEL: func.func @shared(
// CHECK-COUNT-3: "mfm.linear"
// CHECK-NOT: "mfm.linear"
// CHECK: return
func.func @shared(%x: tensor<4x6xf32>) -> (tensor<4x6xf32>, tensor<4x8xf32>) {
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<6xf32>
  %v = "mfm.parameter"() {parameter = "v2"} : () -> tensor<8x6xf32>
  %w = "mfm.parameter"() {parameter = "w2"} : () -> tensor<6x8xf32>
  %n = "mfm.layer_norm"(%x, %g, %g) {epsilon = 1.0e-5 : f64} : (tensor<4x6xf32>, tensor<6xf32>, tensor<6xf32>) -> tensor<4x6xf32>
  %f = "mfm.linear"(%n, %v) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<4x6xf32>, tensor<8x6xf32>) -> tensor<4x8xf32>
  %h = "mfm.gelu"(%f) {approximate = "none"} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %l = "mfm.linear"(%h, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<4x8xf32>, tensor<6x8xf32>) -> tensor<4x6xf32>
  %y = "mfm.add"(%x, %l) : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
  %z = "mfm.linear"(%x, %v) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<4x6xf32>, tensor<8x6xf32>) -> tensor<4x8xf32>
  return %y, %z : tensor<4x6xf32>, tensor<4x8xf32>
}

// A norm of something else than the residual stream: its rows would not be on chip.
// CHECK-LABEL: func.func @apart(
// CHECK-COUNT-2: "mfm.linear"
// CHECK-NOT: "mfm.linear"
// CHECK: return
func.func @apart(%x: tensor<4x6xf32>, %r: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<6xf32>
  %v = "mfm.parameter"() {parameter = "v3"} : () -> tensor<8x6xf32>
  %w = "mfm.parameter"() {parameter = "w3"} : () -> tensor<6x8xf32>
  %n = "mfm.layer_norm"(%x, %g, %g) {epsilon = 1.0e-5 : f64} : (tensor<4x6xf32>, tensor<6xf32>, tensor<6xf32>) -> tensor<4x6xf32>
  %f = "mfm.linear"(%n, %v) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<4x6xf32>, tensor<8x6xf32>) -> tensor<4x8xf32>
  %h = "mfm.gelu"(%f) {approximate = "none"} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %l = "mfm.linear"(%h, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<4x8xf32>, tensor<6x8xf32>) -> tensor<4x6xf32>
  %y = "mfm.add"(%r, %l) : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}
