// RUN: girih-opt %s --convert-mfm-to-linalg | filecheck %s

// Short: all heads together; 20 keys are padded to 32, and what pads is hidden.
// CHECK-LABEL: func.func @short
// CHECK-NOT: scf.for
// CHECK: linalg.batch_matmul {{.*}} ins({{.*}} : tensor<2x20x8xi8>, tensor<2x32x8xi8>)
// CHECK: arith.constant 20 : i32
// CHECK: arith.cmpi slt
// CHECK: arith.select
// CHECK-NOT: scf.for
// CHECK: return
func.func @short(%q: tensor<1x20x2x8xi8>) -> tensor<1x20x2x8xi8> {
  %y = "mfm.integer_attention"(%q, %q, %q) {causal = 0 : i64, output_multiplier = 1073741824 : i64, output_shift = 38 : i64, score_multiplier = 1073741824 : i64, score_shift = 36 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x20x2x8xi8>, tensor<1x20x2x8xi8>, tensor<1x20x2x8xi8>) -> tensor<1x20x2x8xi8>
  return %y : tensor<1x20x2x8xi8>
}

// More than 64 keys are groups: 100 are padded to 128, two groups for each of two heads, and what
// the second does to the sums of the first is part of the loop over the result.
// CHECK-LABEL: func.func @groups
// CHECK: linalg.batch_matmul {{.*}} ins({{.*}} : tensor<4x3x64xi8>, tensor<4x8x64xi8>)
// CHECK: linalg.generic
// CHECK: arith.muli {{.*}} : i64
// CHECK: arith.constant 536870912 : i64
func.func @groups(%q: tensor<1x3x2x8xi8>, %k: tensor<1x100x2x8xi8>) -> tensor<1x3x2x8xi8> {
  %y = "mfm.integer_attention"(%q, %k, %k) {causal = 0 : i64, output_multiplier = 1073741824 : i64, output_shift = 38 : i64, score_multiplier = 1073741824 : i64, score_shift = 36 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x3x2x8xi8>, tensor<1x100x2x8xi8>, tensor<1x100x2x8xi8>) -> tensor<1x3x2x8xi8>
  return %y : tensor<1x3x2x8xi8>
}

// Long: head after head; the product of packed tiles and the rescale are one unit of work, and so
// are the products of two groups with the values and their folds.
// CHECK-LABEL: func.func @long
// CHECK: scf.for
// CHECK: "flow.dispatch.region"
// CHECK: linalg.mmt4d {{.*}} tensor<38x4x16x2xi8>, tensor<40x4x16x2xi8>
// CHECK: arith.muli {{.*}} : i64
// CHECK: "flow.return"
// CHECK: arith.maxsi {{.*}} : i16
// CHECK: "flow.dispatch.region"
// CHECK: linalg.mmt4d {{.*}} tensor<38x32x16x2xi8>, tensor<1x32x16x2xi8>
// CHECK: linalg.mmt4d {{.*}} tensor<38x32x16x2xi8>, tensor<1x32x16x2xi8>
// CHECK: "flow.return"
// CHECK: scf.yield
func.func @long(%q: tensor<1x600x2x8xi8>) -> tensor<1x600x2x8xi8> {
  %y = "mfm.integer_attention"(%q, %q, %q) {causal = 0 : i64, output_multiplier = 1073741824 : i64, output_shift = 38 : i64, score_multiplier = 1073741824 : i64, score_shift = 36 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x600x2x8xi8>, tensor<1x600x2x8xi8>, tensor<1x600x2x8xi8>) -> tensor<1x600x2x8xi8>
  return %y : tensor<1x600x2x8xi8>
}
