// RUN: girih-opt %s --partition | filecheck %s

// Float work before and after the integers: host, accelerator, host; weights move along.
// CHECK-LABEL: func.func @sandwich(
// CHECK: %[[A:.*]] = call @sandwich.host0(%arg0)
// CHECK-NEXT: %[[B:.*]] = call @sandwich.npu1(%[[A]])
// CHECK-NEXT: %[[C:.*]] = call @sandwich.host2(%[[B]])
// CHECK-NEXT: return %[[C]]
func.func @sandwich(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x4xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x8xi32>
  %0 = "mfm.quantize"(%x) {inverse_scale = 10.0 : f64} : (tensor<2x4xf32>) -> tensor<2x4xi8>
  %1 = "mfm.integer_linear"(%0, %w, %p) : (tensor<2x4xi8>, tensor<8x4xi8>, tensor<3x8xi32>) -> tensor<2x8xi8>
  %2 = "mfm.dequantize"(%1) {scale = 0.1 : f64} : (tensor<2x8xi8>) -> tensor<2x8xf32>
  return %2 : tensor<2x8xf32>
}

// Two integer operations that a host one separates only in the text are one segment.
// CHECK-LABEL: func.func @interleaved(
// CHECK-COUNT-1: call @interleaved.npu1(%arg0)
// CHECK-NOT: call @interleaved.npu3
// CHECK: return
func.func @interleaved(%x: tensor<4xi8>, %y: tensor<4xi8>) -> (tensor<4xi8>, tensor<4xf32>) {
  %0 = "mfm.rescale"(%x) {multiplier = 5 : i64, shift = 3 : i64} : (tensor<4xi8>) -> tensor<4xi8>
  %1 = "mfm.dequantize"(%y) {scale = 0.1 : f64} : (tensor<4xi8>) -> tensor<4xf32>
  %2 = "mfm.rescale"(%0) {multiplier = 5 : i64, shift = 3 : i64} : (tensor<4xi8>) -> tensor<4xi8>
  return %2, %1 : tensor<4xi8>, tensor<4xf32>
}

// A mask is computed from tokens on the host: the accelerator has no comparisons.
// CHECK-LABEL: func.func @mask(
// CHECK: call @mask.host0(%arg0)
func.func @mask(%x: tensor<4xi64>) -> tensor<4xi1> {
  %0 = "mfm.compare"(%x, %x) {predicate = "eq"} : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi1>
  return %0 : tensor<4xi1>
}

// States keep their names at the segments' doors.
// CHECK-LABEL: func.func @state(
// CHECK: call @state.npu1(%arg0, %arg1, %arg2)
func.func @state(%s: tensor<1x4x2xi8> {mfm.state = "s"}, %p: tensor<1xi64>, %r: tensor<1x1x2xi8>) -> (tensor<1x4x2xi8> {mfm.state = "s"}) {
  %0 = "mfm.cache_update"(%s, %p, %r) : (tensor<1x4x2xi8>, tensor<1xi64>, tensor<1x1x2xi8>) -> tensor<1x4x2xi8>
  return %0 : tensor<1x4x2xi8>
}

// The segments follow, each with its kind, the weights that it reads, and on the host the reasons.
// CHECK-LABEL: func.func @sandwich.host0(
// CHECK-SAME: attributes {mfm.host}
// CHECK: "mfm.quantize"
// CHECK-SAME: mfm.reason = "a seam between float and integer"
// CHECK-LABEL: func.func @sandwich.npu1(
// CHECK-SAME: attributes {mfm.npu}
// CHECK-NEXT: "mfm.parameter"() {parameter = "w"}
// CHECK-NEXT: "mfm.parameter"() {parameter = "p"}
// CHECK-NEXT: "mfm.integer_linear"
// CHECK-LABEL: func.func @sandwich.host2(
// CHECK: "mfm.dequantize"
// CHECK-LABEL: func.func @interleaved.npu1(
// CHECK-COUNT-2: "mfm.rescale"
// CHECK-LABEL: func.func @mask.host0(
// CHECK: mfm.reason = "works on i1, which the accelerator does not compute with"
// CHECK-LABEL: func.func @state.npu1(
// CHECK-SAME: %arg0: tensor<1x4x2xi8> {mfm.state = "s"}
// CHECK-SAME: -> (tensor<1x4x2xi8> {mfm.state = "s"})
