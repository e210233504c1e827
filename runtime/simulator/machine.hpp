// The machine: memories that persist, and programs that run on them.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "matmul.hpp"
#include "memory.hpp"
#include "program.hpp"
#include "timing.hpp"

namespace girih {

struct MachineParameters {
  TimingParameters timing;
  std::uint64_t scratchpad_bytes;
  std::uint64_t accumulator_bytes;
  std::uint64_t dram_bytes;
};

// What the instructions of one tag did.
struct TagStatistics {
  std::uint32_t tag = 0;
  std::uint64_t instructions = 0;
  std::uint64_t start_cycle = ~std::uint64_t{0};
  std::uint64_t end_cycle = 0;  // completion of the last
  std::uint64_t busy_cycles[kEngineCount] = {};
  Cost totals;  // the counts only; cycles stay zero
  PageCounts pages;
};

struct Timeline {
  std::vector<std::uint8_t> engine;
  std::vector<std::uint8_t> opcode;
  std::vector<std::uint32_t> tag;
  std::vector<std::uint64_t> start;
  std::vector<std::uint64_t> end;
  std::vector<std::uint64_t> completion;
  std::vector<std::uint32_t> instruction;
};

struct Result {
  std::uint64_t cycles = 0;
  std::uint64_t instructions = 0;
  std::uint64_t busy_cycles[kEngineCount] = {};
  std::vector<TagStatistics> tags;  // by tag, ascending
  Timeline timeline;                // empty unless asked for
};

class Machine {
 public:
  // `kernels`: "scalar", "avx2", "avx512vnni", or "" for the best. Throws std::invalid_argument.
  Machine(const MachineParameters& parameters, const std::string& kernels, std::uint32_t threads);

  // Throws std::out_of_range.
  void write_dram(std::uint64_t address, const void* data, std::uint64_t bytes);
  void read_dram(std::uint64_t address, void* data, std::uint64_t bytes);
  // True when every byte was written, by the host or by a program.
  bool is_initialized(std::uint64_t address, std::uint64_t bytes);

  // Throws ProgramError. Without `functional`, only time is computed: neither data nor order nor
  // initialization is looked at, and no memory is needed.
  Result run(const Program& program, bool functional, bool timeline);

  const MachineParameters& parameters() const { return parameters_; }
  const char* kernels() const { return kernels_->name; }
  std::uint32_t threads() const { return threads_; }

 private:
  friend class Execution;

  void check_header(const Header& header) const;
  void check_range(std::uint64_t address, std::uint64_t bytes) const;
  void begin_functional();

  MachineParameters parameters_;
  const Kernels* kernels_;
  std::uint32_t threads_;
  std::mutex mutex_;  // one run or transfer at a time
  Memory memories_[kSpaceCount];
  // Instructions that each engine has executed in the life of the machine: their numbers are the
  // clocks by which order is checked, so that what an earlier run did lies before everything now.
  std::uint32_t clocks_[kEngineCount] = {};
  Multiplier multiplier_;
};

}  // namespace girih
