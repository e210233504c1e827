// RUN: girih-opt %s --prune-heads=share=0.5 | filecheck %s
// RUN: not girih-opt %s --prune-heads=share=-0.5 2>&1 | filecheck %s --check-prefix SHARE
// RUN: not girih-opt %s --prune-heads=match=cross 2>&1 | filecheck %s --check-prefix NONE
// RUN: not girih-opt %s --prune-heads=match=outside 2>&1 | filecheck %s --check-prefix FIXED

// SHARE: error: prune-heads takes a share from 0 to below 1, found -0.5
// NONE: error: prune-heads: 'cross' matches no attention; the first is 'grouped'
// FIXED: error: prune-heads: 'outside' must stay whole: they are seen in an argument of entry 'outside'

// One of 2 key heads goes, and with it its 2 query heads, their mask and columns.
// CHECK-LABEL: func.func @grouped(
// CHECK: "mfm.parameter"() {parameter = "q.pruned"} : () -> tensor<6x4xf32>
// CHECK: "mfm.parameter"() {parameter = "k.pruned"} : () -> tensor<3x4xf32>
// CHECK: "mfm.parameter"() {parameter = "m.pruned"} : () -> tensor<1x2x5x5xf32>
// CHECK: "mfm.parameter"() {parameter = "o.pruned"} : () -> tensor<4x6xf32>
// CHECK: "mfm.transpose"{{.*}} -> tensor<1x2x5x3xf32>
// CHECK: "mfm.attention"{{.*}} (tensor<1x5x2x3xf32>, tensor<1x5x1x3xf32>, tensor<1x5x1x3xf32>, tensor<1x2x5x5xf32>) -> tensor<1x5x2x3xf32>
// CHECK: "mfm.linear"{{.*}} -> tensor<1x5x4xf32>
func.func @grouped(%x: tensor<1x5x4xf32>) -> tensor<1x5x4xf32> {
  %q = "mfm.parameter"() {parameter = "q"} : () -> tensor<12x4xf32>
  %k = "mfm.parameter"() {parameter = "k"} : () -> tensor<6x4xf32>
  %m = "mfm.parameter"() {parameter = "m"} : () -> tensor<1x4x5x5xf32>
  %o = "mfm.parameter"() {parameter = "o"} : () -> tensor<4x12xf32>
  %0 = "mfm.linear"(%x, %q) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x5x4xf32>, tensor<12x4xf32>) -> tensor<1x5x12xf32>
  %1 = "mfm.reshape"(%0) : (tensor<1x5x12xf32>) -> tensor<1x5x4x3xf32>
  %2 = "mfm.transpose"(%1) {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x5x4x3xf32>) -> tensor<1x4x5x3xf32>
  %3 = "mfm.transpose"(%2) {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x4x5x3xf32>) -> tensor<1x5x4x3xf32>
  %4 = "mfm.linear"(%x, %k) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x5x4xf32>, tensor<6x4xf32>) -> tensor<1x5x6xf32>
  %5 = "mfm.reshape"(%4) : (tensor<1x5x6xf32>) -> tensor<1x5x2x3xf32>
  %6 = "mfm.attention"(%3, %5, %5, %m) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>} : (tensor<1x5x4x3xf32>, tensor<1x5x2x3xf32>, tensor<1x5x2x3xf32>, tensor<1x4x5x5xf32>) -> tensor<1x5x4x3xf32> loc("grouped")
  %7 = "mfm.reshape"(%6) : (tensor<1x5x4x3xf32>) -> tensor<1x5x12xf32>
  %8 = "mfm.linear"(%7, %o) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x5x12xf32>, tensor<4x12xf32>) -> tensor<1x5x4xf32>
  return %8 : tensor<1x5x4xf32>
}

// Keys come from a state that another entry writes: its shape changes in both.
// CHECK-LABEL: func.func @prefill(
// CHECK-SAME: -> (tensor<1x5x1x3xf32> {mfm.state = "keys"})
func.func @prefill(%x: tensor<1x5x4xf32>) -> (tensor<1x5x2x3xf32> {mfm.state = "keys"}) {
  %k = "mfm.parameter"() {parameter = "k3"} : () -> tensor<6x4xf32>
  %0 = "mfm.linear"(%x, %k) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x5x4xf32>, tensor<6x4xf32>) -> tensor<1x5x6xf32>
  %1 = "mfm.reshape"(%0) : (tensor<1x5x6xf32>) -> tensor<1x5x2x3xf32>
  return %1 : tensor<1x5x2x3xf32>
}
// CHECK-LABEL: func.func @decode(
// CHECK-SAME: tensor<1x5x1x3xf32> {mfm.state = "keys"}
// CHECK: "mfm.attention"{{.*}} -> tensor<1x1x1x3xf32>
func.func @decode(%x: tensor<1x1x4xf32>, %keys: tensor<1x5x2x3xf32> {mfm.state = "keys"}) -> tensor<1x1x4xf32> {
  %q = "mfm.parameter"() {parameter = "q3"} : () -> tensor<6x4xf32>
  %o = "mfm.parameter"() {parameter = "o3"} : () -> tensor<4x6xf32>
  %0 = "mfm.linear"(%x, %q) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x1x4xf32>, tensor<6x4xf32>) -> tensor<1x1x6xf32>
  %1 = "mfm.reshape"(%0) : (tensor<1x1x6xf32>) -> tensor<1x1x2x3xf32>
  %2 = "mfm.attention"(%1, %keys, %keys) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x1x2x3xf32>, tensor<1x5x2x3xf32>, tensor<1x5x2x3xf32>) -> tensor<1x1x2x3xf32> loc("cached")
  %3 = "mfm.reshape"(%2) : (tensor<1x1x2x3xf32>) -> tensor<1x1x6xf32>
  %4 = "mfm.linear"(%3, %o) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x1x6xf32>, tensor<4x6xf32>) -> tensor<1x1x4xf32>
  return %4 : tensor<1x1x4xf32>
}

// Keys that the caller brings cannot change.
// CHECK-LABEL: func.func @outside(
// CHECK: "mfm.attention"{{.*}} -> tensor<1x5x2x3xf32>
func.func @outside(%q: tensor<1x5x2x3xf32>, %k: tensor<1x5x2x3xf32>) -> tensor<1x5x4xf32> {
  %o = "mfm.parameter"() {parameter = "o4"} : () -> tensor<4x6xf32>
  %0 = "mfm.attention"(%q, %k, %k) {scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x5x2x3xf32>, tensor<1x5x2x3xf32>, tensor<1x5x2x3xf32>) -> tensor<1x5x2x3xf32> loc("outside")
  %1 = "mfm.reshape"(%0) : (tensor<1x5x2x3xf32>) -> tensor<1x5x6xf32>
  %2 = "mfm.linear"(%1, %o) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x5x6xf32>, tensor<4x6xf32>) -> tensor<1x5x4xf32>
  return %2 : tensor<1x5x4xf32>
}
