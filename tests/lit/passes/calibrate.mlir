// RUN: girih-opt %s --calibrate=random=2 | filecheck %s
// RUN: not girih-opt %s --calibrate 2>&1 | filecheck %s --check-prefix NONE

// Ranges cannot be taken from nothing.
// NONE: error: {{.*}}entry 'f' has no calibration inputs

// Each operation names its statistics, unique among functions; the IR is otherwise unchanged.
// CHECK-LABEL: func.func @f(
// CHECK: "mfm.parameter"() {mfm.statistics = "f.0", parameter = "w"}
// CHECK: "mfm.linear"(%arg0, %{{.*}}) {mfm.statistics = "f.1"
// CHECK: "mfm.gelu"(%{{.*}}) {approximate = "none", mfm.statistics = "f.2"}
func.func @f(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x4xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x8xf32>
  %1 = "mfm.gelu"(%0) {approximate = "none"} : (tensor<2x8xf32>) -> tensor<2x8xf32>
  return %1 : tensor<2x8xf32>
}

// CHECK-LABEL: func.func @g(
// CHECK: mfm.statistics = "g.0"
func.func @g(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = "mfm.add"(%x, %x) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}
