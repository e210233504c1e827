// RUN: girih-opt %s --calibrate=random=1 --sparsify --target %S/sparse.yaml | filecheck %s
// RUN: not girih-opt %s --sparsify 2>&1 | filecheck %s --check-prefix DENSE
// RUN: not girih-opt %s --sparsify=match=odd --target %S/sparse.yaml 2>&1 | filecheck %s --check-prefix ODD

// An array that multiplies every weight has no use for zeros.
// DENSE: error: sparsity is for a target whose array.sparsity says {{.*}}: target 'edge' declares none

// Nor has one for rows that its groups do not divide, alone.
// ODD: error: sparsify: 'odd' matches no linear operation with rows of whole groups of 4

// Wherever a weight is read, the sparse one is; what has other rows is kept.
// CHECK-LABEL: func.func @f(
// CHECK: parameter = "up.weight.sparse"} : () -> tensor<8x4xf32>
// CHECK: parameter = "odd.weight"} : () -> tensor<4x6xf32>
func.func @f(%x: tensor<2x4xf32>, %y: tensor<2x6xf32>) -> (tensor<2x8xf32>, tensor<2x4xf32>) {
  %w = "mfm.parameter"() {parameter = "up.weight"} : () -> tensor<8x4xf32>
  %o = "mfm.parameter"() {parameter = "odd.weight"} : () -> tensor<4x6xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x8xf32>
  %1 = "mfm.linear"(%y, %o) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x6xf32>, tensor<4x6xf32>) -> tensor<2x4xf32>
  return %0, %1 : tensor<2x8xf32>, tensor<2x4xf32>
}

// Rows that are looked up too stay whole: a token would lose half of its numbers.
// CHECK-LABEL: func.func @tied(
// CHECK: parameter = "embed.weight"} : () -> tensor<5x4xf32>
// CHECK: parameter = "up.weight.sparse"} : () -> tensor<8x4xf32>
func.func @tied(%i: tensor<2xi64>) -> (tensor<2x5xf32>, tensor<2x8xf32>) {
  %t = "mfm.parameter"() {parameter = "embed.weight"} : () -> tensor<5x4xf32>
  %w = "mfm.parameter"() {parameter = "up.weight"} : () -> tensor<8x4xf32>
  %x = "mfm.embedding"(%i, %t) : (tensor<2xi64>, tensor<5x4xf32>) -> tensor<2x4xf32>
  %0 = "mfm.linear"(%x, %t) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<5x4xf32>) -> tensor<2x5xf32>
  %1 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x8xf32>
  return %0, %1 : tensor<2x5xf32>, tensor<2x8xf32>
}
