// The Python face of the simulator: girih.runtime._simulator. No logic here; the documented API is
// girih.runtime.simulator.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "errors.hpp"
#include "machine.hpp"
#include "ordering.hpp"
#include "program.hpp"

namespace nb = nanobind;

namespace {

using girih::Cost;
using girih::Engine;
using girih::Machine;
using girih::MachineParameters;
using girih::Program;
using girih::ProgramError;
using girih::Result;
using girih::TagStatistics;
using girih::Timeline;
using girih::TimingParameters;

// A contiguous view of a Python object with the buffer protocol.
class Buffer {
 public:
  Buffer(nb::handle object, int flags) {
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) nb::raise_python_error();
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return view_.buf; }
  std::size_t bytes() const { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_{};
};

template <class Element>
nb::object array(std::vector<Element>&& values) {
  auto* kept = new std::vector<Element>(std::move(values));
  nb::capsule owner(kept,
                    [](void* pointer) noexcept { delete static_cast<std::vector<Element>*>(pointer); });
  const std::size_t shape[1] = {kept->size()};
  return nb::cast(nb::ndarray<nb::numpy, Element, nb::ndim<1>>(kept->data(), 1, shape, owner));
}

nb::object timeline_arrays(Timeline&& timeline) {
  nb::dict arrays;
  arrays["engine"] = array(std::move(timeline.engine));
  arrays["opcode"] = array(std::move(timeline.opcode));
  arrays["tag"] = array(std::move(timeline.tag));
  arrays["start"] = array(std::move(timeline.start));
  arrays["end"] = array(std::move(timeline.end));
  arrays["completion"] = array(std::move(timeline.completion));
  arrays["instruction"] = array(std::move(timeline.instruction));
  return arrays;
}

nb::tuple busy_tuple(const std::uint64_t (&busy)[girih::kEngineCount]) {
  return nb::make_tuple(busy[0], busy[1], busy[2], busy[3]);
}

nb::dict tag_dict(const TagStatistics& tag) {
  const Cost& totals = tag.totals;
  nb::dict fields;
  fields["tag"] = tag.tag;
  fields["instructions"] = tag.instructions;
  fields["start_cycle"] = tag.start_cycle;
  fields["end_cycle"] = tag.end_cycle;
  fields["busy_cycles"] = busy_tuple(tag.busy_cycles);
  fields["macs"] = totals.macs;
  fields["vector_operations"] = totals.vector_operations;
  fields["dram_read_bytes"] = totals.dram_read_bytes;
  fields["dram_write_bytes"] = totals.dram_write_bytes;
  fields["dram_bus_bytes"] = totals.dram_bus_bytes;
  fields["scratchpad_read_bytes"] = totals.scratchpad_read_bytes;
  fields["scratchpad_write_bytes"] = totals.scratchpad_write_bytes;
  fields["accumulator_read_bytes"] = totals.accumulator_read_bytes;
  fields["accumulator_write_bytes"] = totals.accumulator_write_bytes;
  nb::dict rows;
  rows["hits"] = tag.pages.hits;
  rows["misses"] = tag.pages.misses;
  rows["conflicts"] = tag.pages.conflicts;
  rows["stall_cycles"] = tag.pages.stall_cycles;
  rows["refresh_cycles"] = tag.pages.refresh_cycles;
  fields["rows"] = rows;
  return fields;
}

nb::dict run(Machine& machine, const Program& program, bool functional, bool timeline) {
  Result result;
  {
    nb::gil_scoped_release release;
    result = machine.run(program, functional, timeline);
  }
  nb::list tags;
  for (const TagStatistics& tag : result.tags) tags.append(tag_dict(tag));
  nb::dict fields;
  fields["cycles"] = result.cycles;
  fields["instructions"] = result.instructions;
  fields["busy_cycles"] = busy_tuple(result.busy_cycles);
  fields["tags"] = tags;
  fields["timeline"] = timeline ? timeline_arrays(std::move(result.timeline)) : nb::none();
  return fields;
}

Program* load_program(nb::handle data) {
  const Buffer buffer(data, PyBUF_SIMPLE);
  nb::gil_scoped_release release;
  return new Program(static_cast<const std::uint8_t*>(buffer.data()), buffer.bytes());
}

nb::object waits_of(const Program& program) {
  std::vector<std::uint16_t> distances;
  {
    nb::gil_scoped_release release;
    distances = girih::wait_distances(program);
  }
  return array(std::move(distances));
}

girih::PageParameters pages_of(const nb::dict& values) {
  const auto number = [&values](const char* name) {
    return nb::cast<std::uint64_t>(values[name]);
  };
  girih::PageParameters pages{};
  pages.page_shift = static_cast<std::uint32_t>(number("page_shift"));
  pages.burst_shift = static_cast<std::uint32_t>(number("burst_shift"));
  pages.banks = static_cast<std::uint32_t>(number("banks"));
  pages.activate = number("activate");
  pages.precharge = number("precharge");
  pages.row_cycle = number("row_cycle");
  pages.activate_gap = number("activate_gap");
  pages.overhead = number("overhead");
  pages.refresh_interval_cycles = number("refresh_interval_cycles");
  pages.refresh_cycles = number("refresh_cycles");
  pages.reopen_cycles = number("reopen_cycles");
  return pages;
}

MachineParameters parameters_of(const nb::dict& values) {
  const auto number = [&values](const char* name) {
    return nb::cast<std::uint64_t>(values[name]);
  };
  MachineParameters parameters{};
  parameters.scratchpad_bytes = number("scratchpad_bytes");
  parameters.accumulator_bytes = number("accumulator_bytes");
  parameters.dram_bytes = number("dram_bytes");
  TimingParameters& timing = parameters.timing;
  timing.frequency_hz = number("frequency_hz");
  timing.array_rows = static_cast<std::uint32_t>(number("array_rows"));
  timing.array_columns = static_cast<std::uint32_t>(number("array_columns"));
  timing.vector_lanes = static_cast<std::uint32_t>(number("vector_lanes"));
  timing.vector_latency = number("vector_latency_cycles");
  timing.root_divide_cycles = number("root_divide_cycles");
  timing.dram_bytes_per_second = number("dram_bytes_per_second");
  timing.dram_latency = number("dram_latency_cycles");
  timing.dram_burst_bytes = number("dram_burst_bytes");
  timing.dram_overhead = number("dram_overhead_cycles");
  if (values.contains("dram_pages")) timing.pages = pages_of(nb::cast<nb::dict>(values["dram_pages"]));
  const auto costs = nb::cast<nb::dict>(values["vector_costs"]);
  for (std::uint8_t opcode = 0; opcode < girih::kOpcodeCount; ++opcode) {
    if (girih::engine_of(opcode) != girih::kEngineVector) continue;
    timing.vector_cost[opcode] = nb::cast<std::uint64_t>(costs[girih::opcode_name(opcode)]);
  }
  return parameters;
}

void write_dram(Machine& machine, std::uint64_t address, nb::handle data) {
  const Buffer buffer(data, PyBUF_C_CONTIGUOUS);
  nb::gil_scoped_release release;
  machine.write_dram(address, buffer.data(), buffer.bytes());
}

void read_dram_into(Machine& machine, std::uint64_t address, nb::handle data) {
  const Buffer buffer(data, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE);
  nb::gil_scoped_release release;
  machine.read_dram(address, buffer.data(), buffer.bytes());
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const char* name : {"avx512vnni", "avx2", "scalar"}) {
    if (girih::find_kernels(name) != nullptr) names.emplace_back(name);
  }
  return names;
}

}  // namespace

NB_MODULE(_simulator, module) {
  module.doc() = "The functional and timing simulator of the accelerator.";

  // Its arguments are the message and the index of the instruction (-1: none).
  static PyObject* refused = nullptr;
  refused = PyErr_NewException("girih.runtime._simulator.RefusedError", nullptr, nullptr);
  if (refused == nullptr) nb::raise_python_error();
  module.attr("RefusedError") = nb::borrow(refused);
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const ProgramError& error) {
      const nb::tuple arguments = nb::make_tuple(error.what(), error.instruction());
      PyErr_SetObject(refused, arguments.ptr());
    }
  });

  nb::class_<Program>(module, "Program")
      .def(nb::new_(&load_program), nb::arg("data"))
      .def("synchronize", &Program::synchronize, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("instructions", [](const Program& program) { return program.steps().size(); })
      .def_prop_ro("dram_bytes",
                   [](const Program& program) { return program.header().dram_bytes; });

  nb::class_<Machine>(module, "Machine")
      .def(nb::new_([](const nb::dict& parameters, const std::string& kernels,
                       std::uint32_t threads) {
             return new Machine(parameters_of(parameters), kernels, threads);
           }),
           nb::arg("parameters"), nb::arg("kernels"), nb::arg("threads"))
      .def("write_dram", &write_dram, nb::arg("address"), nb::arg("data"))
      .def("read_dram_into", &read_dram_into, nb::arg("address"), nb::arg("data"))
      .def("is_initialized", &Machine::is_initialized, nb::arg("address"), nb::arg("bytes"))
      .def("run", &run, nb::arg("program"), nb::arg("functional"), nb::arg("timeline"))
      .def_prop_ro("kernels", &Machine::kernels)
      .def_prop_ro("threads", &Machine::threads);

  module.def("wait_distances", &waits_of, nb::arg("program"),
             "Per instruction, how far it may run ahead of each engine: four numbers, flat.");
  module.def("kernel_names", &kernel_names,
             "Names of the instruction sets that this processor has kernels for, best first.");
}
