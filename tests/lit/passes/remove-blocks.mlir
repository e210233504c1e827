// RUN: girih-opt %s --remove-blocks=match=layers.0 | filecheck %s
// RUN: girih-opt %s --remove-blocks=match=layers.* | filecheck %s --check-prefix LAST
// RUN: girih-opt %s --remove-blocks=count=0 | filecheck %s --check-prefix NOTHING
// RUN: girih-opt %s --remove-blocks=match=cached.0 | filecheck %s --check-prefix STATE
// RUN: not girih-opt %s --remove-blocks=count=3,match=layers.* 2>&1 | filecheck %s --check-prefix MANY
// RUN: not girih-opt %s --remove-blocks=match=layers.2 2>&1 | filecheck %s --check-prefix NONE

// MANY: error: remove-blocks: count is 3, but 'layers.*' matches 2 blocks
// NONE: error: remove-blocks: 'layers.2' matches no residual block

// The next block reads what the first one read; a branch of two sums goes whole.
// CHECK-LABEL: func.func @pre_norm(
// CHECK-NEXT: "mfm.unary"(%arg0) {function = "silu"}
// CHECK-NEXT: "mfm.add"(%arg0, %{{.*}})
// CHECK-NEXT: return
// Where nothing was observed the last one goes.
// LAST-LABEL: func.func @pre_norm(
// LAST: function = "relu"
// LAST: function = "tanh"
// LAST-NOT: function = "silu"
// LAST: return
// NOTHING-LABEL: func.func @pre_norm(
// NOTHING-COUNT-3: "mfm.add"
// NOTHING: return
func.func @pre_norm(%x: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %0 = "mfm.unary"(%x) {function = "relu"} : (tensor<3x4xf32>) -> tensor<3x4xf32> loc("layers.0.attention")
  %1 = "mfm.add"(%x, %0) : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32> loc("layers.0")
  %2 = "mfm.unary"(%1) {function = "tanh"} : (tensor<3x4xf32>) -> tensor<3x4xf32> loc("layers.0.mlp")
  %3 = "mfm.add"(%2, %1) : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32> loc("layers.0.mlp")
  %4 = "mfm.unary"(%3) {function = "silu"} : (tensor<3x4xf32>) -> tensor<3x4xf32> loc("layers.1.mlp")
  %5 = "mfm.add"(%3, %4) : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32> loc("layers.1")
  return %5 : tensor<3x4xf32>
}

// A cache that only the removed block reads leaves the signature; one that others read stays.
// STATE-LABEL: func.func @cached(
// STATE-SAME: %arg0: tensor<3x4xf32>, %arg1: tensor<3x4xf32> {mfm.state = "b"}) -> (tensor<3x4xf32>, tensor<3x4xf32> {mfm.state = "b"})
// STATE-COUNT-1: "mfm.add"
// STATE: return
func.func @cached(%x: tensor<3x4xf32>, %a: tensor<3x4xf32> {mfm.state = "a"}, %b: tensor<3x4xf32> {mfm.state = "b"})
    -> (tensor<3x4xf32>, tensor<3x4xf32> {mfm.state = "a"}, tensor<3x4xf32> {mfm.state = "b"}) {
  %0 = "mfm.binary"(%x, %a) {function = "multiply"} : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32> loc("cached.0.attention")
  %1 = "mfm.add"(%x, %0) : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32> loc("cached.0")
  %2 = "mfm.binary"(%1, %b) {function = "multiply"} : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32> loc("cached.1.attention")
  %3 = "mfm.add"(%1, %2) : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32> loc("cached.1")
  return %3, %0, %2 : tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf32>
}

// Layers that change the width are no blocks.
// CHECK-LABEL: func.func @narrow(
// CHECK-COUNT-2: "mfm.linear"
// LAST-LABEL: func.func @narrow(
// LAST-COUNT-2: "mfm.linear"
func.func @narrow(%x: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<2x4xf32>
  %v = "mfm.parameter"() {parameter = "v"} : () -> tensor<4x2xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<3x4xf32>, tensor<2x4xf32>) -> tensor<3x2xf32> loc("layers.0.fc1")
  %1 = "mfm.linear"(%0, %v) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<3x2xf32>, tensor<4x2xf32>) -> tensor<3x4xf32> loc("layers.0.fc2")
  return %1 : tensor<3x4xf32>
}
