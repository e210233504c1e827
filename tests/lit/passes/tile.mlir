// RUN: girih-opt %s --tile --target small | filecheck %s

// A product: its weights come once, rows stream past them through rings of two slots, and the
// rows that are left over follow the loop.

// CHECK-NOT:  func.func
// CHECK:      "npu.program"
// CHECK:      [[X:%.+]] = "npu.dram"() {{.*}}role = "argument"{{.*}} : () -> memref<300x64xi8, "dram">
// CHECK:      [[Y:%.+]] = "npu.dram"() {{.*}}role = "result"{{.*}} : () -> memref<300x64xi8, "dram">
// CHECK:      [[W:%.+]] = "npu.dram"() {{.*}}role = "parameter", tensor = "w"} : () -> memref<64x64xi8, "dram">
// CHECK:      [[P:%.+]] = "npu.dram"() {{.*}}role = "parameter", tensor = "p"} : () -> memref<3x64xi32, "dram">
// CHECK:      [[ROWS:%.+]] = "npu.allocate"() {{.*}} : () -> memref<2x{{[0-9]+}}x64xi8, "scratchpad">
// CHECK:      [[WEIGHTS:%.+]] = "npu.allocate"() {{.*}} : () -> memref<1x64x64xi8, "scratchpad">
// CHECK:      [[SUMS:%.+]] = "npu.allocate"() {{.*}} : () -> memref<2x{{[0-9]+}}x64xi32, "accumulator">
// CHECK:      "npu.dma_in"([[W]], [[WEIGHTS]])
// CHECK:      "npu.loop"() ({
// CHECK-NEXT:   "npu.dma_in"([[X]], [[ROWS]]) {accesses = [{pitch = 64 : i64, stride = {{.*}}}, {pitch = 64 : i64, ring = array<i64: 1, 0, 0, 0>}]
// CHECK-NEXT:   "npu.matmul"([[ROWS]], [[WEIGHTS]], [[SUMS]])
// CHECK-NEXT:   "npu.rescale"([[SUMS]],
// CHECK-NEXT:   "npu.dma_out"({{.*}}, [[Y]])
// CHECK-NEXT: }) {count = {{[0-9]+}} : i64}
// CHECK-NEXT: "npu.dma_in"([[X]], [[ROWS]])
// CHECK-NEXT: "npu.matmul"
// CHECK-NEXT: "npu.rescale"
// CHECK-NEXT: "npu.dma_out"
// CHECK:      layers = [{compulsory_bytes = 43264 : i64, macs = 1228800 : i64, name = "fc", operation = "integer_linear"}], sym_name = "main"
func.func @main(%x: tensor<300x64xi8>) -> tensor<300x64xi8> attributes {mfm.npu} {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<64x64xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x64xi32>
  %y = "mfm.integer_linear"(%x, %w, %p) : (tensor<300x64xi8>, tensor<64x64xi8>, tensor<3x64xi32>) -> tensor<300x64xi8> loc("fc")
  return %y : tensor<300x64xi8>
}

// A gate: the product with the other side follows the rescale on chip.

// CHECK:      [[GATE:%.+]] = "npu.dram"() {{.*}}index = 1 : i64, role = "argument"
// CHECK:      "npu.matmul"
// CHECK:      "npu.rescale"(%{{[0-9]+}}, [[UP:%[0-9]+]], %{{[0-9]+}})
// CHECK-NEXT: "npu.dma_in"([[GATE]], [[LOADED:%[0-9]+]])
// CHECK-NEXT: "npu.multiply"([[LOADED]], [[UP]], {{.*}}immediates = array<i64: 1073741824, 35>
// CHECK-NEXT: "npu.dma_out"
// CHECK:      operation = "integer_linear + integer_multiply"
func.func @gate(%x: tensor<3x64xi8>, %g: tensor<3x64xi8>) -> tensor<3x64xi8> attributes {mfm.npu} {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<64x64xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x64xi32>
  %u = "mfm.integer_linear"(%x, %w, %p) : (tensor<3x64xi8>, tensor<64x64xi8>, tensor<3x64xi32>) -> tensor<3x64xi8>
  %y = "mfm.integer_multiply"(%g, %u) {multiplier = 1073741824 : i64, shift = 35 : i64} : (tensor<3x64xi8>, tensor<3x64xi8>) -> tensor<3x64xi8>
  return %y : tensor<3x64xi8>
}

// A norm without a mean is a flag, and its parameters are one row.

// CHECK:      "npu.dma_in"({{.*}}columns = 256 : i64, {{.*}}rows = 1 : i64
// CHECK:      "npu.layer_norm"({{.*}}flags = 1 : i64, immediates = array<i64: 7, 20>
// CHECK:      sym_name = "norm"
func.func @norm(%x: tensor<3x64xi16>) -> tensor<3x64xi8> attributes {mfm.npu} {
  %p = "mfm.parameter"() {parameter = "g"} : () -> tensor<1x64xi32>
  %y = "mfm.integer_rms_norm"(%x, %p) {epsilon = 7 : i64, shift = 20 : i64} : (tensor<3x64xi16>, tensor<1x64xi32>) -> tensor<3x64xi8>
  return %y : tensor<3x64xi8>
}

// Batches are a loop (its first iteration peels off later), both sides move with it, and the right
// side stays as it lies: no flag says that it is transposed.

// CHECK:      "npu.loop"
// CHECK-NEXT: "npu.dma_in"({{.*}}stride = array<i64: 240, 0, 0, 0>
// CHECK-NEXT: "npu.dma_in"({{.*}}stride = array<i64: 120, 0, 0, 0>
// CHECK-NEXT: "npu.matmul"({{.*}}columns = 12 : i64, depth = 20 : i64, flags = {{[04]}} : i64
// CHECK-NEXT: "npu.rescale"({{.*}}flags = 1 : i64, immediates = array<i64: 0, 1073741824, 40>
// CHECK-NEXT: "npu.dma_out"
// CHECK:      macs = 7200 : i64, {{.*}}operation = "integer_matmul"
func.func @product(%x: tensor<5x6x20xi8>, %y: tensor<5x20x12xi8>) -> tensor<5x6x12xi8> attributes {mfm.npu} {
  %z = "mfm.integer_matmul"(%x, %y) {multiplier = 1073741824 : i64, shift = 40 : i64, transposed = 0 : i64} : (tensor<5x6x20xi8>, tensor<5x20x12xi8>) -> tensor<5x6x12xi8>
  return %z : tensor<5x6x12xi8>
}

// Half of each row: one strided transfer each way. A transposition of leading axes: one per row of
// the result's first axis.

// CHECK:      "npu.dma_in"({{.*}}accesses = [{offset = 4 : i64, pitch = 8 : i64}, {pitch = 4 : i64}]{{.*}}columns = 4 : i64, {{.*}}rows = 18 : i64
// CHECK:      "npu.dma_out"
// CHECK:      "npu.loop"
// CHECK-NEXT: "npu.dma_in"({{.*}}accesses = [{pitch = 24 : i64, stride = array<i64: 8, 0, 0, 0>}, {{.*}}columns = 8 : i64, {{.*}}rows = 6 : i64
// CHECK-NEXT: "npu.dma_out"({{.*}}stride = array<i64: 48, 0, 0, 0>
// CHECK-NEXT: }) {count = 3 : i64}
func.func @move(%x: tensor<6x3x8xi8>) -> (tensor<6x3x4xi8>, tensor<3x6x8xi8>) attributes {mfm.npu} {
  %y = "mfm.slice"(%x) {offsets = array<i64: 0, 0, 4>, strides = array<i64: 1, 1, 1>} : (tensor<6x3x8xi8>) -> tensor<6x3x4xi8>
  %z = "mfm.transpose"(%x) {permutation = array<i64: 1, 0, 2>} : (tensor<6x3x8xi8>) -> tensor<3x6x8xi8>
  return %y, %z : tensor<6x3x4xi8>, tensor<3x6x8xi8>
}

// A result that is an argument is a copy.

// CHECK:      "npu.dma_in"(%{{[0-9]+}}, [[BUFFER:%[0-9]+]])
// CHECK-NEXT: "npu.dma_out"([[BUFFER]], {{.*}})
// CHECK:      name = "result", operation = "copy"
func.func @same(%x: tensor<6xi8>) -> tensor<6xi8> attributes {mfm.npu} {
  return %x : tensor<6xi8>
}
