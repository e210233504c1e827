// RUN: girih-opt %s --convert-mfm-to-linalg | filecheck %s

// A weight becomes one immutable global however often it is used; the module gets IREE's name.
// CHECK: module @program
// CHECK-NEXT: "util.global"() {initial_value = #flow.parameter.named<"girih"::"w"> : tensor<64x48xi8>, sym_name = "parameter.w"
// CHECK-NEXT: "util.global"() {initial_value = #flow.parameter.named<"girih"::"p"> : tensor<3x64xi32>
// CHECK-NOT: "util.global"()

// Several rows: a matrix product, which IREE packs, then the rescale in 64 bits.
// CHECK-LABEL: func.func @rows
// CHECK: "util.global.load"() {global = @parameter.w}
// CHECK: linalg.matmul
// CHECK-SAME: tensor<10x48xi8>, tensor<64x48xi8>
// CHECK: linalg.generic
// CHECK: arith.muli {{.*}} : i64
// CHECK: arith.shrsi {{.*}} : i64
// CHECK: arith.trunci {{.*}} : i64 to i8
// CHECK-NOT: mfm.
func.func @rows(%x: tensor<2x5x48xi8>) -> tensor<2x5x64xi8> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<64x48xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x64xi32>
  %y = "mfm.integer_linear"(%x, %w, %p) : (tensor<2x5x48xi8>, tensor<64x48xi8>, tensor<3x64xi32>) -> tensor<2x5x64xi8>
  return %y : tensor<2x5x64xi8>
}

// One row: a reduction that reads each weight once, nothing packed.
// CHECK-LABEL: func.func @one_row
// CHECK-NOT: linalg.matmul
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "reduction"]
// CHECK-NOT: linalg.matmul
// CHECK: return
func.func @one_row(%x: tensor<1x48xi8>) -> tensor<1x64xi16> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<64x48xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x64xi32>
  %y = "mfm.integer_linear"(%x, %w, %p) : (tensor<1x48xi8>, tensor<64x48xi8>, tensor<3x64xi32>) -> tensor<1x64xi16>
  return %y : tensor<1x64xi16>
}

// One row of a cache is inserted at its position, clamped to the cache.
// CHECK-LABEL: func.func @cache
// CHECK: arith.maxsi
// CHECK: arith.minsi
// CHECK: tensor.insert_slice
func.func @cache(%c: tensor<1x8x4xi8>, %p: tensor<1xi64>, %r: tensor<1x1x4xi8>) -> tensor<1x8x4xi8> {
  %y = "mfm.cache_update"(%c, %p, %r) : (tensor<1x8x4xi8>, tensor<1xi64>, tensor<1x1x4xi8>) -> tensor<1x8x4xi8>
  return %y : tensor<1x8x4xi8>
}

// Windows of few taps are a slice for each tap.
// CHECK-LABEL: func.func @patches
// CHECK: tensor.pad
// CHECK-COUNT-4: tensor.extract_slice {{.*}} [1, 2, 2, 4] [1, 2, 2, 1]
// CHECK: tensor.concat dim(3)
// CHECK-SAME: -> tensor<1x2x2x16xi8>
func.func @patches(%x: tensor<1x3x3x4xi8>) -> tensor<1x2x2x16xi8> {
  %y = "mfm.patches"(%x) {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 1, 1>, dilation = array<i64: 1, 1>} : (tensor<1x3x3x4xi8>) -> tensor<1x2x2x16xi8>
  return %y : tensor<1x2x2x16xi8>
}

// Of many they are one strided copy.
// CHECK-LABEL: func.func @many_taps
// CHECK: tensor.pad
// CHECK: linalg.generic
// CHECK-SAME: iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel", "parallel"]
// CHECK-SAME: tensor<1x7x7x4xi8>
// CHECK: tensor.collapse_shape
// CHECK-SAME: tensor<1x2x2x5x5x4xi8> into tensor<1x2x2x100xi8>
func.func @many_taps(%x: tensor<1x4x4x4xi8>) -> tensor<1x2x2x100xi8> {
  %y = "mfm.patches"(%x) {kernel = array<i64: 5, 5>, stride = array<i64: 2, 2>, padding = array<i64: 2, 2>, dilation = array<i64: 1, 1>} : (tensor<1x4x4x4xi8>) -> tensor<1x2x2x100xi8>
  return %y : tensor<1x2x2x100xi8>
}
