// RUN: girih-opt %s --tile --target small | filecheck %s

// Weights of 4 bits lie in DRAM as groups of 17 bytes; the transfer (flag 2) makes bytes of them.
// CHECK: [[W:%.+]] = "npu.dram"() {{.*}}tensor = "w"} : () -> memref<48x34xi8, "dram">
// CHECK: "npu.dma_in"([[W]], [[WEIGHTS:%.+]]) {accesses = [{pitch = 34 : i64}, {pitch = 64 : i64}], columns = 64 : i64, {{.*}}flags = 2 : i64
// CHECK: "npu.matmul"({{.*}}, [[WEIGHTS]],
// CHECK: compulsory_bytes = 3552 : i64
func.func @main(%x: tensor<12x64xi8>) -> tensor<12x48xi8> attributes {mfm.npu} {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<48x34xi8>
  %u = "mfm.unpack"(%w) : (tensor<48x34xi8>) -> tensor<48x64xi8>
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3x48xi32>
  %y = "mfm.integer_linear"(%x, %u, %p) : (tensor<12x64xi8>, tensor<48x64xi8>, tensor<3x48xi32>) -> tensor<12x48xi8>
  return %y : tensor<12x48xi8>
}
