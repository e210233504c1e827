// RUN: girih-opt %s --calibrate=random=1 --quantize=smoothing=0.0 | filecheck %s
// RUN: girih-opt %s --calibrate=random=1 --quantize=weights=4 | filecheck %s --check-prefix FOUR
// RUN: girih-opt %s --calibrate=random=1 --quantize=ranges=percentile,percentile=50 | filecheck %s --check-prefix HALF
// RUN: girih-opt %s --calibrate=random=1 --quantize=ranges=mse,weights=4,scaling=activation-aware | filecheck %s --check-prefix LEAST
// RUN: not girih-opt %s --quantize=ranges=median 2>&1 | filecheck %s --check-prefix MEDIAN
// RUN: girih-opt %s --calibrate=random=1 --quantize=activations=16 | filecheck %s --check-prefix WIDE
// RUN: not girih-opt %s --quantize=weights=5 2>&1 | filecheck %s --check-prefix FIVE
// RUN: not girih-opt %s --quantize 2>&1 | filecheck %s --check-prefix NONE

// Scales come from ranges.
// NONE: error: {{.*}}quantize needs ranges: run the calibrate pass before it

// Weights have 4 bits, 8 or none.
// FIVE: --quantize: weights=5: input should be 4, 8 or 'float'

// Ranges are one of three.
// MEDIAN: --quantize: ranges=median: input should be 'largest', 'percentile' or 'mse'

// What a product reads takes half of its values, up to 0.36 of 1.30; what is returned takes all.
// HALF-LABEL: func.func @linear(
// HALF-SAME: %arg0: tensor<2x4xi8> {mfm.scale = 0.0028{{[0-9]+}} : f64})

// Choosing ranges and factors changes numbers, and no operation.
// LEAST-LABEL: func.func @groups(
// LEAST: %[[P:.*]] = "mfm.parameter"() {parameter = "wide.int4"} : () -> tensor<8x34xi8>
// LEAST: %[[W:.*]] = "mfm.unpack"(%[[P]])
// LEAST: "mfm.integer_linear"(%arg0, %[[W]],

// Rows of whole groups are packed, 17 bytes for 32 weights; others keep their 8 bits.
// FOUR-LABEL: func.func @linear(
// FOUR: parameter = "w.int8"} : () -> tensor<8x4xi8>
// FOUR-LABEL: func.func @groups(
// FOUR: %[[P:.*]] = "mfm.parameter"() {parameter = "wide.int4"} : () -> tensor<8x34xi8>
// FOUR: %[[W:.*]] = "mfm.unpack"(%[[P]]) : (tensor<8x34xi8>) -> tensor<8x64xi8>
// FOUR: "mfm.integer_linear"(%arg0, %[[W]],

// Inputs of 16 bits are two halves, each multiplied with the same 8 bits of weights.
// WIDE-LABEL: func.func @linear(
// WIDE-SAME: %arg0: tensor<2x4xi16>
// WIDE: %[[W:.*]] = "mfm.parameter"() {parameter = "w.int8"}
// WIDE: %[[H:.*]] = "mfm.rescale"(%arg0) {multiplier = 1 : i64, shift = 8 : i64} : (tensor<2x4xi16>) -> tensor<2x4xi8>
// WIDE: %[[M:.*]] = "mfm.integer_multiply"(%[[H]], {{.*}} -> tensor<2x4xi16>
// WIDE: %[[L:.*]] = "mfm.integer_add"(%arg0, %[[M]]) {lhs_multiplier = 2 : i64, rhs_multiplier = 512 : i64, shift = 1 : i64} : (tensor<2x4xi16>, tensor<2x4xi16>) -> tensor<2x4xi8>
// WIDE: %[[A:.*]] = "mfm.integer_linear"(%[[H]], %[[W]], {{.*}} -> tensor<2x8xi16>
// WIDE: %[[B:.*]] = "mfm.integer_linear"(%[[L]], %[[W]], {{.*}} -> tensor<2x8xi16>
// WIDE: "mfm.integer_add"(%[[A]], %[[B]]) {{.*}} -> tensor<2x8xi16>

// The argument of a linear is int8 at the door, its result int16, the caller's own precision.
// CHECK-LABEL: func.func @linear(
// CHECK-SAME: %arg0: tensor<2x4xi8> {mfm.scale = {{[0-9.eE+-]+}} : f64})
// CHECK-SAME: -> (tensor<2x8xi16> {mfm.scale = {{[0-9.eE+-]+}} : f64})
// CHECK-DAG: %[[W:.*]] = "mfm.parameter"() {parameter = "w.int8"} : () -> tensor<8x4xi8>
// CHECK-DAG: %[[P:.*]] = "mfm.parameter"() {{.*}} : () -> tensor<3x8xi32>
// CHECK: "mfm.integer_linear"(%arg0, %[[W]], %[[P]]) : (tensor<2x4xi8>, tensor<8x4xi8>, tensor<3x8xi32>) -> tensor<2x8xi16>
func.func @linear(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x4xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// A residual stays int16 through additions and normalization; only the linear sees int8.
// CHECK-LABEL: func.func @residual(
// CHECK-SAME: tensor<2x8xi16>
// CHECK: %[[S:.*]] = "mfm.integer_add"
// CHECK-SAME: -> tensor<2x8xi16>
// CHECK: %[[N:.*]] = "mfm.integer_layer_norm"(%[[S]], %{{.*}})
// CHECK-SAME: -> tensor<2x8xi8>
// CHECK: "mfm.integer_linear"(%[[N]],
func.func @residual(%x: tensor<2x8xf32>) -> (tensor<2x8xf32>, tensor<2x8xf32>) {
  %w = "mfm.parameter"() {parameter = "v"} : () -> tensor<8x8xf32>
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<8xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<8xf32>
  %0 = "mfm.add"(%x, %x) : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  %1 = "mfm.layer_norm"(%0, %g, %b) {epsilon = 1.0e-5 : f64} : (tensor<2x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  %2 = "mfm.linear"(%1, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  return %0, %2 : tensor<2x8xf32>, tensor<2x8xf32>
}

// What has no integer form stays float, behind a dequantize; so does a product between two such.
// CHECK-LABEL: func.func @float(
// CHECK: %[[D:.*]] = "mfm.dequantize"(%arg0)
// CHECK-NEXT: %[[A:.*]] = "mfm.unary"(%[[D]])
// CHECK-NEXT: %[[M:.*]] = "mfm.multiply_scalar"(%[[A]])
// CHECK-NEXT: %[[B:.*]] = "mfm.unary"(%[[M]])
// CHECK-NEXT: return %[[B]] : tensor<2x4xf32>
func.func @float(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = "mfm.unary"(%x) {function = "sine"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.multiply_scalar"(%0) {factor = 0.5 : f64} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = "mfm.unary"(%1) {function = "cosine"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  return %2 : tensor<2x4xf32>
}

// A sum between two float operations is an integer all the same: its rounding is known.
// CHECK-LABEL: func.func @float_sum(
// CHECK: "mfm.quantize"
// CHECK: "mfm.integer_add"
// CHECK: "mfm.dequantize"
func.func @float_sum(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = "mfm.unary"(%x) {function = "sine"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = "mfm.add"(%0, %0) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = "mfm.unary"(%1) {function = "cosine"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  return %2 : tensor<2x4xf32>
}

// A state has one scale and one width wherever it is written or read.
// CHECK-LABEL: func.func @write(
// CHECK-SAME: -> (tensor<2x4xi8> {mfm.scale = [[SCALE:[0-9.eE+-]+]] : f64, mfm.state = "s"})
// CHECK-LABEL: func.func @read(
// CHECK-SAME: %arg0: tensor<2x4xi8> {mfm.scale = [[SCALE]] : f64, mfm.state = "s"}
func.func @write(%x: tensor<2x4xf32>) -> (tensor<2x4xf32> {mfm.state = "s"}) {
  %w = "mfm.parameter"() {parameter = "u"} : () -> tensor<4x4xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}
func.func @read(%s: tensor<2x4xf32> {mfm.state = "s"}) -> tensor<2x4xf32> {
  %w = "mfm.parameter"() {parameter = "u"} : () -> tensor<4x4xf32>
  %0 = "mfm.linear"(%s, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

func.func @groups(%x: tensor<2x64xf32>) -> tensor<2x8xf32> {
  %w = "mfm.parameter"() {parameter = "wide"} : () -> tensor<8x64xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<2x64xf32>, tensor<8x64xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
