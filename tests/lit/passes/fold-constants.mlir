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

// A result larger than its operands is left to run time: folding never grows the program.
// CHECK-LABEL: func.func @grows(
// CHECK: "mfm.add"
func.func @grows() -> tensor<8x9xf32> {
  %a = "mfm.parameter"() {parameter = "a"} : () -> tensor<8x1xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<9xf32>
  %0 = "mfm.add"(%a, %b) : (tensor<8x1xf32>, tensor<9xf32>) -> tensor<8x9xf32>
  return %0 : tensor<8x9xf32>
}

// What reads an argument stays.
// CHECK-LABEL: func.func @argument(
// CHECK: "mfm.add"(%arg0, %{{.*}})
func.func @argument(%x: tensor<3xf32>) -> tensor<3xf32> {
  %c = "mfm.parameter"() {parameter = "c"} : () -> tensor<3xf32>
  %0 = "mfm.add"(%x, %c) : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %0 : tensor<3xf32>
}
