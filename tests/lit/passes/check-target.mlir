// RUN: girih-opt %s --check-target --target edge | filecheck %s
// RUN: ! girih-opt %s --check-target --target %S/tiny.yaml 2>&1 | filecheck %s --check-prefix TINY

// What fits is left as it is; what does not is refused by name, with both sizes.

// CHECK-LABEL: func.func @norm
// CHECK: "mfm.layer_norm"
// TINY: error: target 'tiny' is too small for a layer (mfm.layer_norm): its smallest tile takes 4224 scratchpad and 0 accumulator bytes, the target has 1024 and 256
func.func @norm(%x: tensor<4x384xf32>) -> tensor<4x384xf32> {
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<384xf32>
  %0 = "mfm.layer_norm"(%x, %g, %g) {epsilon = 1.0e-5 : f64} : (tensor<4x384xf32>, tensor<384xf32>, tensor<384xf32>) -> tensor<4x384xf32>
  return %0 : tensor<4x384xf32>
}
