// RUN: girih-opt %s --peel | filecheck %s

// The first iteration stands before the loop, so that its waits for the layer before are its own.
// The loop then starts with what was its second iteration: 64 bytes and one slot on.

// CHECK: "npu.program"
// CHECK: "npu.dma_in"
// CHECK-SAME: accesses = [{pitch = 64 : i64}, {pitch = 64 : i64}]
// CHECK: "npu.loop"
// CHECK: "npu.dma_in"
// CHECK-SAME: {offset = 64 : i64, pitch = 64 : i64, stride = array<i64: 64>}
// CHECK-SAME: {phase = 1 : i64, pitch = 64 : i64, ring = array<i64: 1>}
// CHECK: {count = 3 : i64}
"npu.program"() ({
  %0 = "npu.dram"() {tensor = "x", role = "argument", index = 0, address = -1} : () -> memref<4x64xi8, "dram">
  %1 = "npu.allocate"() {address = -1, layer = 0} : () -> memref<2x1x64xi8, "scratchpad">
  "npu.loop"() ({
    "npu.dma_in"(%0, %1) {rows = 1, columns = 64, depth = 0, flags = 0, immediates = array<i64: 0>, layer = 0, waits = array<i64: -1, -1, -1, -1>, operandSegmentSizes = array<i32: 1, 1, 0>, accesses = [{pitch = 64, stride = array<i64: 64>}, {pitch = 64, ring = array<i64: 1>}]} : (memref<4x64xi8, "dram">, memref<2x1x64xi8, "scratchpad">) -> ()
  }) {count = 4} : () -> ()
}) {sym_name = "peeled", layers = [unit]} : () -> ()

// Two iterations leave no loop.

// CHECK: "npu.program"
// CHECK-NOT: npu.loop
// CHECK: "npu.dma_in"
// CHECK: "npu.dma_in"
// CHECK-SAME: {offset = 64 : i64, pitch = 64 : i64}
"npu.program"() ({
  %0 = "npu.dram"() {tensor = "x", role = "argument", index = 0, address = -1} : () -> memref<4x64xi8, "dram">
  %1 = "npu.allocate"() {address = -1, layer = 0} : () -> memref<2x1x64xi8, "scratchpad">
  "npu.loop"() ({
    "npu.dma_in"(%0, %1) {rows = 1, columns = 64, depth = 0, flags = 0, immediates = array<i64: 0>, layer = 0, waits = array<i64: -1, -1, -1, -1>, operandSegmentSizes = array<i32: 1, 1, 0>, accesses = [{pitch = 64, stride = array<i64: 64>}, {pitch = 64, ring = array<i64: 1>}]} : (memref<4x64xi8, "dram">, memref<2x1x64xi8, "scratchpad">) -> ()
  }) {count = 2} : () -> ()
}) {sym_name = "twice", layers = [unit]} : () -> ()

// A loop in the first iteration is the first to run, so its own first iteration stands apart too.

// CHECK: "npu.program"
// CHECK: "npu.dma_in"
// CHECK-SAME: accesses = [{pitch = 64 : i64}, {pitch = 64 : i64}]
// CHECK: "npu.loop"
// CHECK: "npu.dma_in"
// CHECK-SAME: {offset = 64 : i64, pitch = 64 : i64, stride = array<i64: 64>}
// CHECK: {count = 2 : i64}
// CHECK: "npu.loop"
// CHECK: "npu.loop"
// CHECK: "npu.dma_in"
// CHECK-SAME: {offset = 192 : i64, pitch = 64 : i64, stride = array<i64: 192, 64>}
// CHECK: {count = 3 : i64}
// CHECK: {count = 3 : i64}
"npu.program"() ({
  %0 = "npu.dram"() {tensor = "x", role = "argument", index = 0, address = -1} : () -> memref<12x64xi8, "dram">
  %1 = "npu.allocate"() {address = -1, layer = 0} : () -> memref<1x1x64xi8, "scratchpad">
  "npu.loop"() ({
    "npu.loop"() ({
      "npu.dma_in"(%0, %1) {rows = 1, columns = 64, depth = 0, flags = 0, immediates = array<i64: 0>, layer = 0, waits = array<i64: -1, -1, -1, -1>, operandSegmentSizes = array<i32: 1, 1, 0>, accesses = [{pitch = 64, stride = array<i64: 192, 64>}, {pitch = 64}]} : (memref<12x64xi8, "dram">, memref<1x1x64xi8, "scratchpad">) -> ()
    }) {count = 3} : () -> ()
  }) {count = 4} : () -> ()
}) {sym_name = "nested", layers = [unit]} : () -> ()
