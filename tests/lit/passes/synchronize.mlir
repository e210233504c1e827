// RUN: girih-opt %s --allocate --synchronize --target small | filecheck %s

// Waits are distances to dma_in, dma_out, matrix and vector. The load may run one store ahead: its
// ring has two slots, so it waits for all stores but the last. A store waits for its own load.

// CHECK:      "npu.loop"
// CHECK-NEXT: "npu.dma_in"{{.*}}waits = array<i64: -1, 1, -1, -1>
// CHECK-NEXT: "npu.dma_out"{{.*}}waits = array<i64: 0, -1, -1, -1>
"npu.program"() ({
  %x = "npu.dram"() {address = -1 : i64, index = 0 : i64, role = "argument", tensor = "x"} : () -> memref<8x64xi8, "dram">
  %y = "npu.dram"() {address = -1 : i64, index = 0 : i64, role = "result", tensor = "y"} : () -> memref<8x64xi8, "dram">
  %0 = "npu.allocate"() {address = -1 : i64, layer = 0 : i64} : () -> memref<2x1x64xi8, "scratchpad">
  "npu.loop"() ({
    "npu.dma_in"(%x, %0) {accesses = [{stride = array<i64: 64>}, {ring = array<i64: 1>}], rows = 1 : i64, columns = 64 : i64, depth = 0 : i64, flags = 0 : i64, immediates = array<i64: 0>, layer = 0 : i64, waits = array<i64: -1, -1, -1, -1>, operandSegmentSizes = array<i32: 1, 1, 0>} : (memref<8x64xi8, "dram">, memref<2x1x64xi8, "scratchpad">) -> ()
    "npu.dma_out"(%0, %y) {accesses = [{ring = array<i64: 1>}, {stride = array<i64: 64>}], rows = 1 : i64, columns = 64 : i64, depth = 0 : i64, flags = 0 : i64, immediates = array<i64: 0>, layer = 0 : i64, waits = array<i64: -1, -1, -1, -1>, operandSegmentSizes = array<i32: 1, 1, 0>} : (memref<2x1x64xi8, "scratchpad">, memref<8x64xi8, "dram">) -> ()
  }) {count = 8 : i64} : () -> ()
}) {sym_name = "main", layers = [unit]} : () -> ()
