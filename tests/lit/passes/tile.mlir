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
