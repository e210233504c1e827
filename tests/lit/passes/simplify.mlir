// RUN: girih-opt %s --simplify | filecheck %s

// Two transposes that undo each other vanish.
// CHECK-LABEL: func.func @cancel(
// CHECK-NEXT: return %arg0
func.func @cancel(%x: tensor<2x3x4xf32>) -> tensor<2x3x4xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 1, 2, 0>} : (tensor<2x3x4xf32>) -> tensor<3x4x2xf32>
  %1 = "mfm.transpose"(%0) {permutation = array<i64: 2, 0, 1>} : (tensor<3x4x2xf32>) -> tensor<2x3x4xf32>
  return %1 : tensor<2x3x4xf32>
}

// Two that do not are one.
// CHECK-LABEL: func.func @compose(
// CHECK-NEXT: %[[T:.*]] = "mfm.transpose"(%arg0) {permutation = array<i64: 2, 0, 1>}
// CHECK-NEXT: return %[[T]]
func.func @compose(%x: tensor<2x3x4xf32>) -> tensor<4x2x3xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 1, 2, 0>} : (tensor<2x3x4xf32>) -> tensor<3x4x2xf32>
  %1 = "mfm.transpose"(%0) {permutation = array<i64: 1, 2, 0>} : (tensor<3x4x2xf32>) -> tensor<4x2x3xf32>
  return %1 : tensor<4x2x3xf32>
}

// A transpose sinks below an activation, to meet its inverse there.
// CHECK-LABEL: func.func @sink(
// CHECK-NEXT: %[[G:.*]] = "mfm.gelu"(%arg0) {approximate = "none"} : (tensor<2x3xf32>) -> tensor<2x3xf32>
// CHECK-NEXT: return %[[G]]
func.func @sink(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %1 = "mfm.gelu"(%0) {approximate = "none"} : (tensor<3x2xf32>) -> tensor<3x2xf32>
  %2 = "mfm.transpose"(%1) {permutation = array<i64: 1, 0>} : (tensor<3x2xf32>) -> tensor<2x3xf32>
  return %2 : tensor<2x3xf32>
}

// One that moves only axes of size 1 is a reshape, and reshapes merge.
// CHECK-LABEL: func.func @units(
// CHECK-NEXT: %[[R:.*]] = "mfm.reshape"(%arg0) : (tensor<1x3x1x4xf32>) -> tensor<12xf32>
// CHECK-NEXT: return %[[R]]
func.func @units(%x: tensor<1x3x1x4xf32>) -> tensor<12xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x3x1x4xf32>) -> tensor<1x1x3x4xf32>
  %1 = "mfm.reshape"(%0) : (tensor<1x1x3x4xf32>) -> tensor<12xf32>
  return %1 : tensor<12xf32>
}

// A transpose that something else reads is kept for it.
// CHECK-LABEL: func.func @shared(
// CHECK-NEXT: %[[T:.*]] = "mfm.transpose"(%arg0)
// CHECK-NEXT: return %[[T]], %arg0
func.func @shared(%x: tensor<2x3xf32>) -> (tensor<3x2xf32>, tensor<2x3xf32>) {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %1 = "mfm.transpose"(%0) {permutation = array<i64: 1, 0>} : (tensor<3x2xf32>) -> tensor<2x3xf32>
  return %0, %1 : tensor<3x2xf32>, tensor<2x3xf32>
}

// A reshape that keeps together what a transpose moves lets the transposes meet: a picture's
// channels, put first by a convolution, come last again as a sequence.
// CHECK-LABEL: func.func @sequence(
// CHECK-NEXT: %[[R:.*]] = "mfm.reshape"(%arg0) : (tensor<2x3x5x4xf32>) -> tensor<2x15x4xf32>
// CHECK-NEXT: return %[[R]]
func.func @sequence(%x: tensor<2x3x5x4xf32>) -> tensor<2x15x4xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 0, 3, 1, 2>} : (tensor<2x3x5x4xf32>) -> tensor<2x4x3x5xf32>
  %1 = "mfm.reshape"(%0) : (tensor<2x4x3x5xf32>) -> tensor<2x4x15xf32>
  %2 = "mfm.transpose"(%1) {permutation = array<i64: 0, 2, 1>} : (tensor<2x4x15xf32>) -> tensor<2x15x4xf32>
  return %2 : tensor<2x15x4xf32>
}

// One that mixes them does not.
// CHECK-LABEL: func.func @mixed(
// CHECK-COUNT-2: "mfm.transpose"
func.func @mixed(%x: tensor<2x3x4xf32>) -> tensor<6x4xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 0, 2, 1>} : (tensor<2x3x4xf32>) -> tensor<2x4x3xf32>
  %1 = "mfm.reshape"(%0) : (tensor<2x4x3xf32>) -> tensor<4x6xf32>
  %2 = "mfm.transpose"(%1) {permutation = array<i64: 1, 0>} : (tensor<4x6xf32>) -> tensor<6x4xf32>
  return %2 : tensor<6x4xf32>
}

// Functions of one number let transposes through as well.
// CHECK-LABEL: func.func @unary(
// CHECK-NEXT: %[[U:.*]] = "mfm.unary"(%arg0) {function = "silu"} : (tensor<2x3xf32>) -> tensor<2x3xf32>
// CHECK-NEXT: return %[[U]]
func.func @unary(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %1 = "mfm.unary"(%0) {function = "silu"} : (tensor<3x2xf32>) -> tensor<3x2xf32>
  %2 = "mfm.transpose"(%1) {permutation = array<i64: 1, 0>} : (tensor<3x2xf32>) -> tensor<2x3xf32>
  return %2 : tensor<2x3xf32>
}

// Two tensors that are transposed alike are added as they were.
// CHECK-LABEL: func.func @residual(
// CHECK-NEXT: %[[S:.*]] = "mfm.add"(%arg0, %arg1)
// CHECK-NEXT: %[[T:.*]] = "mfm.transpose"(%[[S]])
// CHECK-NEXT: return %[[T]]
func.func @residual(%x: tensor<2x3xf32>, %y: tensor<2x3xf32>) -> tensor<3x2xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %1 = "mfm.transpose"(%y) {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %2 = "mfm.add"(%0, %1) : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  return %2 : tensor<3x2xf32>
}
