// RUN: girih-opt %s --prune-hidden=share=0.25 | filecheck %s
// RUN: girih-opt %s --prune-hidden=share=0.25,multiple=4 | filecheck %s --check-prefix MULTIPLE
// RUN: girih-opt %s --prune-hidden=share=0 | filecheck %s --check-prefix NOTHING
// RUN: girih-opt %s --prune-hidden=match=*.gate_* | filecheck %s --check-prefix MATCH
// RUN: not girih-opt %s --prune-hidden=share=1 2>&1 | filecheck %s --check-prefix ALL
// RUN: not girih-opt %s --prune-hidden=match=layers.7 2>&1 | filecheck %s --check-prefix NONE
// RUN: not girih-opt %s --prune-hidden=match=apart.* 2>&1 | filecheck %s --check-prefix FIXED

// An MLP of no channels is no MLP.
// ALL: error: prune-hidden takes a share from 0 to below 1, found 1.0

// A pattern with a slip of the pen must not go unnoticed.
// NONE: error: prune-hidden: 'layers.7' matches no MLP; the first is 'layers.0.fc2'

// Nor must one whose MLPs cannot shrink.
// FIXED: error: prune-hidden: 'apart.fc2' must stay whole: they are seen in a result of entry 'apart'

// 2 of 8 channels go from both linear operations, through a reshape of rows.
// CHECK-LABEL: func.func @mlp(
// CHECK: "mfm.parameter"() {parameter = "v.pruned"} : () -> tensor<6x4xf32>
// CHECK: "mfm.parameter"() {parameter = "a.pruned"} : () -> tensor<6xf32>
// CHECK: "mfm.parameter"() {parameter = "w.pruned"} : () -> tensor<4x6xf32>
// CHECK: "mfm.parameter"() {parameter = "b"} : () -> tensor<4xf32>
// CHECK: "mfm.linear"{{.*}} -> tensor<2x3x6xf32>
// CHECK: "mfm.gelu"{{.*}} -> tensor<2x3x6xf32>
// CHECK: "mfm.reshape"{{.*}} -> tensor<6x6xf32>
// CHECK: "mfm.linear"{{.*}} -> tensor<6x4xf32>
// Where an array is 4 wide, 6 channels take the time of 8.
// MULTIPLE-LABEL: func.func @mlp(
// MULTIPLE-NOT: pruned
// MULTIPLE: return
// NOTHING-LABEL: func.func @mlp(
// NOTHING-NOT: pruned
// NOTHING: return
// MATCH-LABEL: func.func @mlp(
// MATCH-NOT: pruned
// MATCH: return
func.func @mlp(%x: tensor<2x3x4xf32>) -> tensor<6x4xf32> {
  %v = "mfm.parameter"() {parameter = "v"} : () -> tensor<8x4xf32>
  %a = "mfm.parameter"() {parameter = "a"} : () -> tensor<8xf32>
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<4x8xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<4xf32>
  %f = "mfm.linear"(%x, %v, %a) {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<2x3x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<2x3x8xf32> loc("layers.0.fc1")
  %g = "mfm.gelu"(%f) {approximate = "none"} : (tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  %h = "mfm.reshape"(%g) : (tensor<2x3x8xf32>) -> tensor<6x8xf32>
  %y = "mfm.linear"(%h, %w, %b) {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<6x8xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<6x4xf32> loc("layers.0.fc2")
  return %y : tensor<6x4xf32>
}

// One product makes gate and values: both lose the same rows, and the values begin earlier.
// CHECK-LABEL: func.func @gated(
// CHECK: "mfm.parameter"() {parameter = "u.pruned"} : () -> tensor<12x4xf32>
// CHECK: "mfm.linear"{{.*}} -> tensor<3x12xf32>
// CHECK: "mfm.slice"{{.*}} {offsets = array<i64: 0, 0>
// CHECK-SAME: -> tensor<3x6xf32>
// CHECK: "mfm.slice"{{.*}} {offsets = array<i64: 0, 6>
// CHECK-SAME: -> tensor<3x6xf32>
// CHECK: "mfm.binary"{{.*}} -> tensor<3x6xf32>
// MATCH-LABEL: func.func @gated(
// MATCH: pruned
func.func @gated(%x: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %u = "mfm.parameter"() {parameter = "u"} : () -> tensor<16x4xf32>
  %w = "mfm.parameter"() {parameter = "d"} : () -> tensor<4x8xf32>
  %f = "mfm.linear"(%x, %u) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<3x4xf32>, tensor<16x4xf32>) -> tensor<3x16xf32> loc("layers.1.gate_up")
  %g = "mfm.slice"(%f) {offsets = array<i64: 0, 0>, strides = array<i64: 1, 1>} : (tensor<3x16xf32>) -> tensor<3x8xf32>
  %k = "mfm.slice"(%f) {offsets = array<i64: 0, 8>, strides = array<i64: 1, 1>} : (tensor<3x16xf32>) -> tensor<3x8xf32>
  %a = "mfm.unary"(%g) {function = "silu"} : (tensor<3x8xf32>) -> tensor<3x8xf32>
  %h = "mfm.binary"(%a, %k) {function = "multiply"} : (tensor<3x8xf32>, tensor<3x8xf32>) -> tensor<3x8xf32>
  %y = "mfm.linear"(%h, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<3x8xf32>, tensor<4x8xf32>) -> tensor<3x4xf32> loc("layers.1.down")
  return %y : tensor<3x4xf32>
}

// What the caller sees keeps its shape.
// CHECK-LABEL: func.func @apart(
// CHECK-NOT: pruned
// CHECK: return
func.func @apart(%x: tensor<3x4xf32>) -> (tensor<3x4xf32>, tensor<3x8xf32>) {
  %v = "mfm.parameter"() {parameter = "v2"} : () -> tensor<8x4xf32>
  %w = "mfm.parameter"() {parameter = "w2"} : () -> tensor<4x8xf32>
  %f = "mfm.linear"(%x, %v) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<3x4xf32>, tensor<8x4xf32>) -> tensor<3x8xf32> loc("apart.fc1")
  %h = "mfm.gelu"(%f) {approximate = "none"} : (tensor<3x8xf32>) -> tensor<3x8xf32>
  %y = "mfm.linear"(%h, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<3x8xf32>, tensor<4x8xf32>) -> tensor<3x4xf32> loc("apart.fc2")
  return %y, %h : tensor<3x4xf32>, tensor<3x8xf32>
}
