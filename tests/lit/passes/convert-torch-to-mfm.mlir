// RUN: girih-opt %s --convert-torch-to-mfm | filecheck %s

// Signatures become builtin tensors; a linear keeps its operands, a missing bias stays missing.
// CHECK-LABEL: func.func @linear(
// CHECK-SAME: %[[X:.*]]: tensor<2x4xf32>, %[[W:.*]]: tensor<8x4xf32>) -> tensor<2x8xf32>
// CHECK: %[[Y:.*]] = "mfm.linear"(%[[X]], %[[W]])
// CHECK-SAME: (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x8xf32>
// CHECK-NEXT: return %[[Y]] : tensor<2x8xf32>
func.func @linear(%x: !torch.vtensor<[2,4],f32>, %w: !torch.vtensor<[8,4],f32>) -> !torch.vtensor<[2,8],f32> {
  %none = torch.constant.none
  %y = torch.aten.linear %x, %w, %none : !torch.vtensor<[2,4],f32>, !torch.vtensor<[8,4],f32>, !torch.none -> !torch.vtensor<[2,8],f32>
  return %y : !torch.vtensor<[2,8],f32>
}

// An unknown operation stays, says why, and is joined to the rest by casts.
// CHECK-LABEL: func.func @unknown(
// CHECK: %[[A:.*]] = torch_c.from_builtin_tensor
// CHECK: %[[B:.*]] = torch.aten.atan %[[A]] {mfm.fallback = "torch.aten.atan has no mfm form"}
// CHECK: %[[C:.*]] = torch_c.to_builtin_tensor %[[B]]
// CHECK: "mfm.gelu"(%[[C]]) {approximate = "tanh"}
func.func @unknown(%x: !torch.vtensor<[3],f32>) -> !torch.vtensor<[3],f32> {
  %tanh = torch.constant.str "tanh"
  %0 = torch.aten.atan %x : !torch.vtensor<[3],f32> -> !torch.vtensor<[3],f32>
  %1 = torch.aten.gelu %0, %tanh : !torch.vtensor<[3],f32>, !torch.str -> !torch.vtensor<[3],f32>
  return %1 : !torch.vtensor<[3],f32>
}

// A known operation in a form without mfm counterpart stays for that reason.
// CHECK-LABEL: func.func @early_softplus(
// CHECK: torch.aten.softplus
// CHECK-SAME: mfm.fallback = "softplus with threshold 1.0 has no mfm form"
func.func @early_softplus(%x: !torch.vtensor<[3],f32>) -> !torch.vtensor<[3],f32> {
  %one = torch.constant.float 1.0
  %0 = torch.aten.softplus %x, %one, %one : !torch.vtensor<[3],f32>, !torch.float, !torch.float -> !torch.vtensor<[3],f32>
  return %0 : !torch.vtensor<[3],f32>
}

// Complex numbers stay in torch, with what reads and writes them.
// CHECK-LABEL: func.func @complex(
// CHECK: torch.aten.view_as_complex
// CHECK-SAME: mfm.fallback = "torch.aten.view_as_complex has no mfm form"
// CHECK: torch.aten.mul.Tensor
// CHECK-SAME: mfm.fallback = "complex numbers have no mfm form"
func.func @complex(%x: !torch.vtensor<[3,2],f32>) -> !torch.vtensor<[3,2],f32> {
  %0 = torch.aten.view_as_complex %x : !torch.vtensor<[3,2],f32> -> !torch.vtensor<[3],complex<f32>>
  %1 = torch.aten.mul.Tensor %0, %0 : !torch.vtensor<[3],complex<f32>>, !torch.vtensor<[3],complex<f32>> -> !torch.vtensor<[3],complex<f32>>
  %2 = torch.aten.view_as_real %1 : !torch.vtensor<[3],complex<f32>> -> !torch.vtensor<[3,2],f32>
  return %2 : !torch.vtensor<[3,2],f32>
}

// Attention is over (batch, length, heads, depth) here: transposes that simplify may cancel.
// CHECK-LABEL: func.func @attention(
// CHECK-COUNT-3: "mfm.transpose"
// CHECK: "mfm.attention"
// CHECK-SAME: causal = 1 : i64
// CHECK-SAME: scale = 5.000000e-01
// CHECK-SAME: -> tensor<1x5x2x4xf32>
// CHECK: "mfm.transpose"
func.func @attention(%x: !torch.vtensor<[1,2,5,4],f32>) -> !torch.vtensor<[1,2,5,4],f32> {
  %none = torch.constant.none
  %zero = torch.constant.float 0.0
  %true = torch.constant.bool true
  %false = torch.constant.bool false
  %0 = torch.aten.scaled_dot_product_attention %x, %x, %x, %none, %zero, %true, %none, %false : !torch.vtensor<[1,2,5,4],f32>, !torch.vtensor<[1,2,5,4],f32>, !torch.vtensor<[1,2,5,4],f32>, !torch.none, !torch.float, !torch.bool, !torch.none, !torch.bool -> !torch.vtensor<[1,2,5,4],f32>
  return %0 : !torch.vtensor<[1,2,5,4],f32>
}
