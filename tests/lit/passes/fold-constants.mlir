// RUN: girih-opt %s --fold-constants | filecheck %s

// What reads weights only becomes a weight of its own name.
// CHECK-LABEL: func.func @transposed(
// CHECK-NEXT: %[[P:.*]] = "mfm.parameter"() {parameter = "w.transpose"} : () -> tensor<3x2xf32>
// CHECK-NEXT: return %[[P]]
func.func @transposed() -> tensor<3x2xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<2x3xf32>
  %0 = "mfm.transpose"(%w) {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  return %0 : tensor<3x2xf32>
}

// A large result that is larger than its operands is left to run time: the program must not grow.
// CHECK-LABEL: func.func @grows(
// CHECK: "mfm.add"
func.func @grows() -> tensor<256x257xf32> {
  %a = "mfm.parameter"() {parameter = "a"} : () -> tensor<256x1xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<257xf32>
  %0 = "mfm.add"(%a, %b) : (tensor<256x1xf32>, tensor<257xf32>) -> tensor<256x257xf32>
  return %0 : tensor<256x257xf32>
}

// A product is worth it: position embeddings, interpolated.
// CHECK-LABEL: func.func @interpolated(
// CHECK-NEXT: %[[P:.*]] = "mfm.parameter"() {parameter = "matrix.linear"} : () -> tensor<256x257xf32>
// CHECK-NEXT: return %[[P]]
func.func @interpolated() -> tensor<256x257xf32> {
  %a = "mfm.parameter"() {parameter = "positions"} : () -> tensor<256x4xf32>
  %b = "mfm.parameter"() {parameter = "matrix"} : () -> tensor<257x4xf32>
  %0 = "mfm.linear"(%a, %b) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<256x4xf32>, tensor<257x4xf32>) -> tensor<256x257xf32>
  return %0 : tensor<256x257xf32>
}

// What reads an argument stays.
// CHECK-LABEL: func.func @argument(
// CHECK: "mfm.add"(%arg0, %{{.*}})
func.func @argument(%x: tensor<3xf32>) -> tensor<3xf32> {
  %c = "mfm.parameter"() {parameter = "c"} : () -> tensor<3xf32>
  %0 = "mfm.add"(%x, %c) : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %0 : tensor<3xf32>
}
