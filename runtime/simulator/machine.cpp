#include "machine.hpp"

#include <cstring>
#include <stdexcept>

#include "errors.hpp"
#include "execution.hpp"

namespace girih {

namespace {

constexpr unsigned kDmaInBit = 1u << kEngineDmaIn;
constexpr unsigned kDmaOutBit = 1u << kEngineDmaOut;
constexpr unsigned kMatrixBit = 1u << kEngineMatrix;
constexpr unsigned kVectorBit = 1u << kEngineVector;

// Clocks of line entries are 32 bits wide; one run advances them by at most kIssueLimit.
constexpr std::uint32_t kClockLimit = 1u << 31;

}  // namespace

Machine::Machine(const MachineParameters& parameters, const std::string& kernels,
                 std::uint32_t threads)
    : parameters_(parameters),
      kernels_(find_kernels(kernels.c_str())),
      threads_(threads),
      // Who can read and write what follows from the opcodes (docs/isa.md).
      memories_{{parameters.dram_bytes, kDmaInBit | kDmaOutBit, kDmaOutBit},
                {parameters.scratchpad_bytes, kDmaOutBit | kMatrixBit | kVectorBit,
                 kDmaInBit | kVectorBit},
                {parameters.accumulator_bytes, kMatrixBit | kVectorBit, kMatrixBit}} {
  if (kernels_ == nullptr) {
    throw std::invalid_argument("this processor has no kernels named '" + kernels + "'");
  }
  if (threads_ < 1 || threads_ > 64) throw std::invalid_argument("expected 1 to 64 threads");
}

void Machine::check_range(std::uint64_t address, std::uint64_t bytes) const {
  const std::uint64_t capacity = parameters_.dram_bytes;
  if (address > capacity || bytes > capacity - address) {
    throw std::out_of_range("dram has " + std::to_string(capacity) + " bytes, found " +
                            std::to_string(bytes) + " bytes from address " + hexadecimal(address));
  }
}

void Machine::write_dram(std::uint64_t address, const void* data, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  check_range(address, bytes);
  if (bytes == 0) return;
  Memory& dram = memories_[kDram];
  dram.allocate();
  std::memcpy(dram.data() + address, data, bytes);
  dram.mark_initialized({address, bytes, 1, bytes});
}

void Machine::read_dram(std::uint64_t address, void* data, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  check_range(address, bytes);
  if (bytes == 0) return;
  Memory& dram = memories_[kDram];
  dram.allocate();
  std::memcpy(data, dram.data() + address, bytes);
}

bool Machine::is_initialized(std::uint64_t address, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  check_range(address, bytes);
  Memory& dram = memories_[kDram];
  dram.allocate();
  return bytes == 0 || dram.first_uninitialized({address, bytes, 1, bytes}) == Memory::kNone;
}

void Machine::check_header(const Header& header) const {
  const auto expect = [](const char* what, std::uint64_t program, std::uint64_t machine) {
    if (program == machine) return;
    throw ProgramError(-1, std::string("the program is for a machine with ") + what + " " +
                               std::to_string(program) + ", this one has " +
                               std::to_string(machine) + "; compile it for this target");
  };
  expect("scratchpad_bytes", header.scratchpad_bytes, parameters_.scratchpad_bytes);
  expect("accumulator_bytes", header.accumulator_bytes, parameters_.accumulator_bytes);
  expect("array_rows", header.array_rows, parameters_.timing.array_rows);
  expect("array_columns", header.array_columns, parameters_.timing.array_columns);
  expect("vector_lanes", header.vector_lanes, parameters_.timing.vector_lanes);
  if (header.dram_bytes > parameters_.dram_bytes) {
    throw ProgramError(-1, "the program needs " + std::to_string(header.dram_bytes) +
                               " bytes of dram, this machine has " +
                               std::to_string(parameters_.dram_bytes));
  }
}

void Machine::begin_functional() {
  for (Memory& memory : memories_) memory.allocate();
  // What a program finds on chip must not depend on what ran before.
  memories_[kScratchpad].forget_contents();
  memories_[kAccumulator].forget_contents();
  for (const std::uint32_t clock : clocks_) {
    if (clock < kClockLimit) continue;
    for (Memory& memory : memories_) memory.forget_order();
    std::memset(clocks_, 0, sizeof clocks_);
    multiplier_.forget();  // its keys hold clocks
    break;
  }
}

Result Machine::run(const Program& program, bool functional, bool timeline) {
  const std::lock_guard lock(mutex_);
  check_header(program.header());
  if (functional) begin_functional();
  return Execution(*this, program, functional, timeline).run();
}

}  // namespace girih
