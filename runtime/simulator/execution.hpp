// One run of a program: goes through it in program order, checks each access, does the work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "machine.hpp"

namespace girih {

class Execution {
 public:
  Execution(Machine& machine, const Program& program, bool functional, bool timeline);
  Result run();

 private:
  // The clocks of the other engines' instructions that are known to have completed.
  struct Clock {
    std::uint32_t seen[kEngineCount];
  };
  // An issued instruction, for those that wait for it and for hazard messages.
  struct Issue {
    std::uint64_t completion;
    Clock clock;
  };

  void execute(std::uint32_t index);
  void locate(const Step& step);
  std::uint64_t wait(const Instruction& instruction);
  Interval issue(const Step& step, std::uint64_t ready);
  void account(std::uint32_t index, const Step& step, const Interval& interval);

  // --- data (execution_data.cpp)
  void check_accesses(const Step& step);
  void check_read(const Step& step, int number, const Region& region, Memory& memory);
  void check_write(int number, const Region& region, Memory& memory);
  void check_overlap(const Step& step) const;
  void record_accesses(const Step& step);
  std::uint64_t resolve_index(const Step& step);
  void check_parameters(const Step& step) const;
  void compute(const Step& step);
  void transfer(const Step& step);
  void fill(const Step& step);
  void multiply(const Step& step);
  void compute_vector(const Step& step);
  void rescale_rows(VectorTask task);
  std::uint8_t* pointer(const Step& step, int number) const;
  Region region(const Step& step, int number) const;

  // --- errors (execution_errors.cpp)
  [[noreturn]] void refuse(const std::string& message) const;
  [[noreturn]] void refuse_range(const Step& step, int number, std::int64_t address) const;
  [[noreturn]] void refuse_hazard(int number, const Region& region, const LineClocks& clocks,
                                  int other, bool writes, bool other_wrote) const;
  std::string operand_text(int number) const;

  Machine& machine_;
  const Program& program_;
  const Kernels& kernels_;
  const bool functional_;
  const bool timeline_;
  Result result_;
  Timing timing_;
  std::vector<Cost> costs_;
  std::uint64_t iterations_[kLoopDepth] = {};

  // The instruction at hand.
  std::uint32_t index_ = 0;
  std::uint64_t addresses_[kOperandCount] = {};
  Clock now_[kEngineCount] = {};  // of each engine's last instruction
  std::uint32_t own_clock_ = 0;
  std::uint32_t written_[2] = {};  // last writes to matmul's b, by dma_in and by vector

  // Issues of this run, as rings: a wait looks back at most 65535.
  static constexpr std::uint64_t kHistory = 65536;
  std::uint64_t issued_[kEngineCount] = {};
  std::vector<Issue> issues_[kEngineCount];
  std::uint32_t first_clock_[kEngineCount] = {};
  std::vector<std::uint32_t> issued_index_[kEngineCount];  // functional: all of this run
};

}  // namespace girih
