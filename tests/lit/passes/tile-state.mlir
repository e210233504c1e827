// RUN: girih-opt %s --tile --target small | filecheck %s

// A cache that is a state has one place in DRAM: one row is written there, at the position that
// is read when the transfer executes.

// CHECK:      [[CACHE:%.+]] = "npu.dram"() {{.*}}role = "state", tensor = "cache"} : () -> memref<1x20x8xi8, "dram">
// CHECK:      [[POSITION:%.+]] = "npu.dram"() {{.*}} : () -> memref<1xi32, "dram">
// CHECK-NOT:  role = "result"
// CHECK-NOT:  "npu.dma_in"([[CACHE]]
// CHECK:      "npu.dma_in"
// CHECK-NEXT: "npu.dma_out"({{%.+}}, [[CACHE]], [[POSITION]]) {{.*}}flags = 1 : i64, immediates = array<i64: 8, 20>
// CHECK-NOT:  "npu.dma_out"
func.func @main(%cache: tensor<1x20x8xi8> {mfm.state = "cache"}, %position: tensor<1xi64>, %rows: tensor<1x1x8xi8>) -> (tensor<1x20x8xi8> {mfm.state = "cache"}) attributes {mfm.npu} {
  %y = "mfm.cache_update"(%cache, %position, %rows) : (tensor<1x20x8xi8>, tensor<1xi64>, tensor<1x1x8xi8>) -> tensor<1x20x8xi8>
  return %y : tensor<1x20x8xi8>
}
