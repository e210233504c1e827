// Ill-formed input is refused before any pass, with what was found and what was expected.
// RUN: not girih-opt %s --simplify 2>&1 | filecheck %s

// CHECK: error: {{.*}}'mfm.transpose' permutation is [0, 0], expected an order of 0 to 1
func.func @f(%x: tensor<2x3xf32>) -> tensor<3x2xf32> {
  %0 = "mfm.transpose"(%x) {permutation = array<i64: 0, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  return %0 : tensor<3x2xf32>
}
