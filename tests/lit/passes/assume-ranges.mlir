// RUN: girih-opt %s --assume-ranges | filecheck %s
// RUN: girih-opt %s --assume-ranges --quantize | filecheck %s --check-prefix QUANTIZED

// Without an example input each operation names statistics, as after calibrate.
// CHECK-LABEL: func.func @f(
// CHECK: "mfm.parameter"() {mfm.statistics = "f.0", parameter = "w"}
// CHECK: "mfm.linear"(%arg0, %{{.*}}) {mfm.statistics = "f.1"

// They are enough to choose integers and their widths.
// QUANTIZED-LABEL: func.func @f(
// QUANTIZED-SAME: tensor<2x4xi8>
// QUANTIZED: "mfm.integer_linear"
// QUANTIZED-SAME: tensor<2x8xi16>
func.func @f(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x4xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
