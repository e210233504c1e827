// RUN: girih-opt %s --shard-tensors=devices=2 | filecheck %s
// RUN: not girih-opt %s --shard-tensors=devices=3 2>&1 | filecheck %s --check-prefix UNEVEN

// Heads that the devices cannot share equally are refused by their number.
// UNEVEN: error: {{.*}}3 devices cannot share {{.*}}2 heads{{.*}} of entry 'attention' equally

// Queries, keys and values are split by heads, what mixes the heads by its inputs: its results are
// to be added up. The cache lies on the devices in parts.
// CHECK-LABEL: func.func @attention(
// CHECK-SAME: %arg0: tensor<1x3x8xi8>, %arg1: tensor<1x3x1x4xi8>
// CHECK: "mfm.parameter"() {parameter = "wq.part0"} : () -> tensor<4x8xi8>
// CHECK: "mfm.parameter"() {parameter = "wo.part1"} : () -> tensor<8x4xi8>
// CHECK: "mfm.integer_attention"{{.*}} -> tensor<1x3x1x4xi8>
// CHECK: "mfm.integer_linear"{{.*}}mfm.all_reduce = 48
// CHECK-SAME: -> tensor<1x3x8xi16>
func.func @attention(%x: tensor<1x3x8xi8>, %k: tensor<1x3x2x4xi8> {mfm.state = "k"}) -> tensor<1x3x8xi16> {
  %wq = "mfm.parameter"() {parameter = "wq"} : () -> tensor<8x8xi8>
  %wo = "mfm.parameter"() {parameter = "wo"} : () -> tensor<8x8xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x8xi32>
  %0 = "mfm.integer_linear"(%x, %wq, %p) : (tensor<1x3x8xi8>, tensor<8x8xi8>, tensor<3x8xi32>) -> tensor<1x3x8xi8>
  %1 = "mfm.reshape"(%0) : (tensor<1x3x8xi8>) -> tensor<1x3x2x4xi8>
  %2 = "mfm.integer_attention"(%1, %k, %k) {causal = 0 : i64, score_multiplier = 1073741824 : i64, score_shift = 31 : i64, output_multiplier = 1073741824 : i64, output_shift = 39 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<1x3x2x4xi8>, tensor<1x3x2x4xi8>, tensor<1x3x2x4xi8>) -> tensor<1x3x2x4xi8>
  %3 = "mfm.reshape"(%2) : (tensor<1x3x2x4xi8>) -> tensor<1x3x8xi8>
  %4 = "mfm.integer_linear"(%3, %wo, %p) : (tensor<1x3x8xi8>, tensor<8x8xi8>, tensor<3x8xi32>) -> tensor<1x3x8xi16>
  return %4 : tensor<1x3x8xi16>
}
