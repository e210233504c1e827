#include "execution.hpp"

#include <algorithm>

namespace girih {

Execution::Execution(Machine& machine, const Program& program, bool functional, bool timeline)
    : machine_(machine),
      program_(program),
      kernels_(*machine.kernels_),
      functional_(functional),
      timeline_(timeline),
      timing_(machine.parameters_.timing) {
  costs_.reserve(program.steps().size());
  for (const Step& step : program.steps()) {
    costs_.push_back(cost_of(step, machine.parameters_.timing));
  }
  result_.tags.resize(program.tags().size());
  for (std::size_t slot = 0; slot < result_.tags.size(); ++slot) {
    result_.tags[slot].tag = program.tags()[slot];
  }
  for (int engine = 0; engine < kEngineCount; ++engine) {
    first_clock_[engine] = machine.clocks_[engine] + 1;
    // Whatever earlier runs did is complete.
    for (int other = 0; other < kEngineCount; ++other) {
      now_[engine].seen[other] = machine.clocks_[other];
    }
  }
}

Result Execution::run() {
  const std::vector<Step>& steps = program_.steps();
  std::uint32_t remaining[kLoopDepth] = {};
  for (std::uint32_t index = 0; index < steps.size(); ++index) {
    const Step& step = steps[index];
    if (step.instruction.opcode == kLoop) {
      remaining[step.loop_depth] = step.instruction.rows;
      iterations_[step.loop_depth] = 0;
    } else if (step.instruction.opcode == kEnd) {
      if (--remaining[step.loop_depth] != 0) {
        ++iterations_[step.loop_depth];
        index = step.partner;  // the loop itself is not executed again
      }
    } else {
      execute(index);
    }
  }
  return std::move(result_);
}

void Execution::execute(std::uint32_t index) {
  const Step& step = program_.steps()[index];
  index_ = index;
  locate(step);
  const std::uint64_t ready = wait(step.instruction);
  const Interval interval = issue(step, ready);
  if (functional_) {
    check_accesses(step);
    compute(step);
    record_accesses(step);
  }
  const int engine = step.instruction.engine;
  std::vector<Issue>& issues = issues_[engine];
  const std::uint64_t slot = issued_[engine] % kHistory;
  const Issue issue{interval.completion, now_[engine]};
  if (slot == issues.size()) {
    issues.push_back(issue);
  } else {
    issues[slot] = issue;
  }
  ++issued_[engine];
  account(index, step, interval);
}

// Works out the address of each operand in this iteration.
void Execution::locate(const Step& step) {
  for (int number = 0; number < kOperandCount; ++number) {
    const Shape& shape = step.shapes[number];
    if (!shape.used) continue;
    const Operand& operand = step.instruction.operands[number];
    // No overflow: base is within the memory, and the counts of open loops multiply to 2^30 at most.
    std::int64_t address = static_cast<std::int64_t>(operand.base);
    std::uint64_t slot = operand.phase;
    for (std::uint32_t level = 0; level < step.loop_depth; ++level) {
      address += std::int64_t{operand.stride[level]} * static_cast<std::int64_t>(iterations_[level]);
      slot += operand.ring[level] * iterations_[level];
    }
    address += static_cast<std::int64_t>(slot % operand.slots * operand.slot_bytes);
    const auto capacity = static_cast<std::int64_t>(machine_.memories_[shape.space].bytes());
    const auto extent = static_cast<std::int64_t>(shape.extent);
    std::int64_t low = address;
    std::int64_t high = address;
    // Every index that the transfer allows must be in range, also when only time is computed.
    const bool moved = (step.instruction.opcode == kDmaIn && number == 0) ||
                       (step.instruction.opcode == kDmaOut && number == 1);
    if (moved && (step.instruction.flags & kIndexed)) {
      const std::int64_t reach =
          step.instruction.immediates[0] * (step.instruction.immediates[1] - 1);
      low += std::min<std::int64_t>(reach, 0);
      high += std::max<std::int64_t>(reach, 0);
    }
    if (low < 0) refuse_range(step, number, low);
    if (high > capacity - extent) refuse_range(step, number, high);
    addresses_[number] = static_cast<std::uint64_t>(address);
  }
}

// The cycle before which the instruction may not start; also joins the clocks of those it waits for.
std::uint64_t Execution::wait(const Instruction& instruction) {
  const int engine = instruction.engine;
  std::uint64_t ready = 0;
  Clock& now = now_[engine];
  for (int other = 0; other < kEngineCount; ++other) {
    const std::uint64_t distance = instruction.wait[other];
    if (distance == kNoWait || issued_[other] <= distance) continue;
    const std::uint64_t number = issued_[other] - distance - 1;
    const Issue& issue = issues_[other][number % kHistory];
    ready = std::max(ready, issue.completion);
    for (int third = 0; third < kEngineCount; ++third) {
      now.seen[third] = std::max(now.seen[third], issue.clock.seen[third]);
    }
  }
  if (functional_) {
    own_clock_ = ++machine_.clocks_[engine];
    now.seen[engine] = own_clock_;
    issued_index_[engine].push_back(index_);
  }
  return ready;
}

// Before data is looked at: the pages of an indexed transfer are those of index 0, with data and
// without.
Interval Execution::issue(const Step& step, std::uint64_t ready) {
  const int engine = step.instruction.engine;
  const Cost& cost = costs_[index_];
  if (engine > kEngineDmaOut || machine_.parameters_.timing.pages.banks == 0) {
    return timing_.issue(engine, cost, ready);
  }
  const int number = step.instruction.opcode == kDmaIn ? 0 : 1;
  const Shape& shape = step.shapes[number];
  DramRows rows{addresses_[number], shape.pitch, shape.rows, shape.row_bytes};
  if (rows.pitch == rows.row_bytes) {
    rows.row_bytes *= rows.rows;
    rows.rows = 1;
  }
  return timing_.issue(engine, cost, ready, rows);
}

void Execution::account(std::uint32_t index, const Step& step, const Interval& interval) {
  const Cost& cost = costs_[index];
  const int engine = step.instruction.engine;
  ++result_.instructions;
  result_.cycles = std::max(result_.cycles, interval.completion);
  result_.busy_cycles[engine] += interval.busy;
  TagStatistics& tag = result_.tags[step.tag_slot];
  ++tag.instructions;
  tag.start_cycle = std::min(tag.start_cycle, interval.start);
  tag.end_cycle = std::max(tag.end_cycle, interval.completion);
  tag.busy_cycles[engine] += interval.busy;
  Cost& totals = tag.totals;
  totals.macs += cost.macs;
  totals.vector_operations += cost.vector_operations;
  totals.dram_read_bytes += cost.dram_read_bytes;
  totals.dram_write_bytes += cost.dram_write_bytes;
  if (interval.pages.bus_bytes == 0) {
    totals.dram_bus_bytes += cost.dram_bus_bytes;
  } else {
    // Bursts lie where the address says; only the index's is known without it.
    totals.dram_bus_bytes += interval.pages.bus_bytes + cost.index_bus_bytes;
    tag.pages.hits += interval.pages.hits;
    tag.pages.misses += interval.pages.misses;
    tag.pages.conflicts += interval.pages.conflicts;
    tag.pages.stall_cycles += interval.pages.stall_cycles;
    tag.pages.refresh_cycles += interval.pages.refresh_cycles;
  }
  totals.scratchpad_read_bytes += cost.scratchpad_read_bytes;
  totals.scratchpad_write_bytes += cost.scratchpad_write_bytes;
  totals.accumulator_read_bytes += cost.accumulator_read_bytes;
  totals.accumulator_write_bytes += cost.accumulator_write_bytes;
  if (!timeline_) return;
  Timeline& timeline = result_.timeline;
  timeline.engine.push_back(step.instruction.engine);
  timeline.opcode.push_back(step.instruction.opcode);
  timeline.tag.push_back(step.instruction.tag);
  timeline.start.push_back(interval.start);
  timeline.end.push_back(interval.end);
  timeline.completion.push_back(interval.completion);
  timeline.instruction.push_back(index);
}

}  // namespace girih
