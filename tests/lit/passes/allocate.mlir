// RUN: girih-opt %s --allocate --target small | filecheck %s

// Weights first, the same for all programs; then each program's own tensors. On chip, layers take
// turns at the two ends of the memory (small: 131072 bytes), so that one can load while the other
// computes.

// CHECK-LABEL: "npu.program"
// CHECK: "npu.dram"() {address = 64 : i64, {{.*}}role = "argument"
// CHECK: "npu.dram"() {address = 0 : i64, {{.*}}role = "parameter", tensor = "w"
// CHECK: "npu.allocate"() {address = 0 : i64, layer = 0 : i64} : () -> memref<2x4x8xi8, "scratchpad">
// CHECK: "npu.allocate"() {address = 128 : i64, layer = 0 : i64} : () -> memref<1x4x8xi8, "scratchpad">
// CHECK: "npu.allocate"() {address = 131008 : i64, layer = 1 : i64} : () -> memref<1x4x8xi8, "scratchpad">
// CHECK: sym_name = "first"
// CHECK: "npu.dram"() {address = 0 : i64, {{.*}}role = "parameter", tensor = "w"
// CHECK: sym_name = "second"
"npu.program"() ({
  %x = "npu.dram"() {address = -1 : i64, index = 0 : i64, role = "argument", tensor = "x"} : () -> memref<4x8xi8, "dram">
  %w = "npu.dram"() {address = -1 : i64, index = 0 : i64, role = "parameter", tensor = "w"} : () -> memref<8x8xi8, "dram">
  %0 = "npu.allocate"() {address = -1 : i64, layer = 0 : i64} : () -> memref<2x4x8xi8, "scratchpad">
  %1 = "npu.allocate"() {address = -1 : i64, layer = 0 : i64} : () -> memref<1x4x8xi8, "scratchpad">
  %2 = "npu.allocate"() {address = -1 : i64, layer = 1 : i64} : () -> memref<1x4x8xi8, "scratchpad">
}) {sym_name = "first", layers = [unit]} : () -> ()
"npu.program"() ({
  %w = "npu.dram"() {address = -1 : i64, index = 0 : i64, role = "parameter", tensor = "w"} : () -> memref<8x8xi8, "dram">
}) {sym_name = "second", layers = [unit]} : () -> ()
