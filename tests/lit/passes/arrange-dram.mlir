// RUN: girih-opt %s --allocate --arrange-dram --target %S/paged.yaml | filecheck %s

// Loads of x and y take turns, 64 bytes each, and four of them share a page: in one bank each would
// close the other's. So they begin at pages of different banks, 0 and 3. z, less than a page, takes
// the gap between them, and w would straddle two pages behind it.

// CHECK-LABEL: "npu.program"
// CHECK: "npu.dram"() {address = 0 : i64, {{.*}}tensor = "x"
// CHECK: "npu.dram"() {address = 768 : i64, {{.*}}tensor = "y"
// CHECK: "npu.dram"() {address = 512 : i64, {{.*}}tensor = "z"
// CHECK: "npu.dram"() {address = 1280 : i64, {{.*}}tensor = "w"
"npu.program"() ({
  %x = "npu.dram"() {address = -1 : i64, index = 0 : i64, role = "argument", tensor = "x"} : () -> memref<8x64xi8, "dram">
  %y = "npu.dram"() {address = -1 : i64, index = 1 : i64, role = "argument", tensor = "y"} : () -> memref<8x64xi8, "dram">
  %z = "npu.dram"() {address = -1 : i64, index = 2 : i64, role = "argument", tensor = "z"} : () -> memref<3x64xi8, "dram">
  %w = "npu.dram"() {address = -1 : i64, index = 3 : i64, role = "argument", tensor = "w"} : () -> memref<2x64xi8, "dram">
  %0 = "npu.allocate"() {address = -1 : i64, layer = 0 : i64} : () -> memref<2x1x64xi8, "scratchpad">
  "npu.loop"() ({
    "npu.dma_in"(%x, %0) {rows = 1, columns = 64, depth = 0, flags = 0, immediates = array<i64: 0>, layer = 0, waits = array<i64: -1, -1, -1, -1>, operandSegmentSizes = array<i32: 1, 1, 0>, accesses = [{pitch = 64, stride = array<i64: 64>}, {pitch = 64}]} : (memref<8x64xi8, "dram">, memref<2x1x64xi8, "scratchpad">) -> ()
    "npu.dma_in"(%y, %0) {rows = 1, columns = 64, depth = 0, flags = 0, immediates = array<i64: 0>, layer = 0, waits = array<i64: -1, -1, -1, -1>, operandSegmentSizes = array<i32: 1, 1, 0>, accesses = [{pitch = 64, stride = array<i64: 64>}, {pitch = 64, phase = 1}]} : (memref<8x64xi8, "dram">, memref<2x1x64xi8, "scratchpad">) -> ()
  }) {count = 8} : () -> ()
}) {sym_name = "turns", layers = [unit]} : () -> ()
