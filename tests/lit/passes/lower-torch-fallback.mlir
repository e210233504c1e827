// RUN: girih-opt %s --lower-torch-fallback | filecheck %s

// What has no mfm form is lowered by torch-mlir, the casts at its seams included.

// CHECK-LABEL: func.func @stays
// CHECK-NOT: torch.
// CHECK: linalg.generic
func.func @stays(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "torch_c.from_builtin_tensor"(%x) : (tensor<4xf32>) -> !torch.vtensor<[4],f32>
  %1 = torch.aten.relu %0 : !torch.vtensor<[4],f32> -> !torch.vtensor<[4],f32>
  %2 = "torch_c.to_builtin_tensor"(%1) : (!torch.vtensor<[4],f32>) -> tensor<4xf32>
  return %2 : tensor<4xf32>
}
