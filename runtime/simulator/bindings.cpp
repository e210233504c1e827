// The Python face of the simulator: girih.runtime._simulator.

#include <nanobind/nanobind.h>

NB_MODULE(_simulator, module) {
  module.doc() = "The functional and timing simulator of the accelerator.";
  module.def("version", [] { return "0.1.0"; }, "The version of the native module.");
}
