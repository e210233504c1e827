// RUN: girih-opt %s --convert-torch-to-mfm | filecheck %s

// A convolution is a product over windows, channels last.
// CHECK-LABEL: func.func @convolution(
// CHECK: %[[L:.*]] = "mfm.transpose"(%{{.*}}) {permutation = array<i64: 0, 2, 3, 1>}
// CHECK: %[[P:.*]] = "mfm.patches"(%[[L]]) {dilation = array<i64: 1, 1>, kernel = array<i64: 3, 3>, padding = array<i64: 1, 1>, stride = array<i64: 2, 2>}
// CHECK-SAME: (tensor<1x5x5x3xf32>) -> tensor<1x3x3x27xf32>
// CHECK: %[[Y:.*]] = "mfm.linear"(%[[P]],
// CHECK: "mfm.transpose"(%[[Y]]) {permutation = array<i64: 0, 3, 1, 2>}
func.func @convolution(%x: !torch.vtensor<[1,3,5,5],f32>) -> !torch.vtensor<[1,2,3,3],f32> {
  %none = torch.constant.none
  %one = torch.constant.int 1
  %two = torch.constant.int 2
  %ones = torch.prim.ListConstruct %one, %one : (!torch.int, !torch.int) -> !torch.list<int>
  %twos = torch.prim.ListConstruct %two, %two : (!torch.int, !torch.int) -> !torch.list<int>
  %three = torch.constant.int 3
  %s = torch.prim.ListConstruct %two, %three, %three, %three : (!torch.int, !torch.int, !torch.int, !torch.int) -> !torch.list<int>
  %w = torch.aten.ones %s, %none, %none, %none, %none : !torch.list<int>, !torch.none, !torch.none, !torch.none, !torch.none -> !torch.vtensor<[2,3,3,3],f32>
  %y = torch.aten.conv2d %x, %w, %none, %twos, %ones, %ones, %one : !torch.vtensor<[1,3,5,5],f32>, !torch.vtensor<[2,3,3,3],f32>, !torch.none, !torch.list<int>, !torch.list<int>, !torch.list<int>, !torch.int -> !torch.vtensor<[1,2,3,3],f32>
  return %y : !torch.vtensor<[1,2,3,3],f32>
}
