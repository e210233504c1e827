#include "kernels.hpp"

#include <cstring>

namespace girih {

namespace {

struct Choice {
  const Kernels* kernels;
  bool supported;
};

}  // namespace

const Kernels* find_kernels(const char* name) {
  // Best first.
  const Choice choices[] = {
#if GIRIH_X86_KERNELS
      {&kAvx512VnniKernels,
       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni")},
      {&kAvx2Kernels, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
      {&kScalarKernels, true},
  };
  for (const Choice& choice : choices) {
    if (choice.supported && (*name == '\0' || std::strcmp(name, choice.kernels->name) == 0)) {
      return choice.kernels;
    }
  }
  return nullptr;
}

}  // namespace girih
