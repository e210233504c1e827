#include "ordering.hpp"

#include <algorithm>
#include <iterator>
#include <map>

namespace girih {

namespace {

constexpr std::uint64_t kLine = 16;  // the machine orders accesses by lines of so many bytes

struct Range {
  std::uint64_t low;
  std::uint64_t high;  // the byte after the last
};

// Per engine, the number of its last instruction that did something; 0: none did.
struct Numbers {
  std::uint32_t of[kEngineCount] = {};
};

// What touched each line of one memory last, as runs of lines that the same instructions touched.
class History {
 public:
  // Raises `needed` to what an access of these lines must come after.
  void needed(const Range& lines, bool writes, Numbers& needed) const {
    for (auto run = first(lines.low); run != runs_.end() && run->first < lines.high; ++run) {
      if (run->second.end <= lines.low) continue;
      for (int engine = 0; engine < kEngineCount; ++engine) {
        std::uint32_t& number = needed.of[engine];
        number = std::max(number, run->second.wrote.of[engine]);
        if (writes) number = std::max(number, run->second.read.of[engine]);
      }
    }
  }

  // A write comes after all that its lines had seen, so it alone is left to wait for.
  void write(const Range& lines, int engine, std::uint32_t number) {
    split(lines.low);
    split(lines.high);
    runs_.erase(runs_.lower_bound(lines.low), runs_.lower_bound(lines.high));
    Run& run = runs_[lines.low];
    run.end = lines.high;
    run.wrote.of[engine] = number;
  }

  void read(const Range& lines, int engine, std::uint32_t number) {
    split(lines.low);
    split(lines.high);
    std::uint64_t at = lines.low;
    auto run = runs_.lower_bound(lines.low);
    while (at < lines.high) {
      if (run == runs_.end() || run->first > at) {
        const std::uint64_t end =
            run == runs_.end() ? lines.high : std::min(lines.high, run->first);
        run = runs_.emplace_hint(run, at, Run{end, {}, {}});
      }
      run->second.read.of[engine] = number;
      at = run->second.end;
      ++run;
    }
  }

 private:
  struct Run {
    std::uint64_t end;
    Numbers wrote;
    Numbers read;
  };
  using Runs = std::map<std::uint64_t, Run>;

  // The last run that begins at or before a line, or the first run.
  Runs::const_iterator first(std::uint64_t line) const {
    auto after = runs_.upper_bound(line);
    return after == runs_.begin() ? after : std::prev(after);
  }

  void split(std::uint64_t line) {
    auto after = runs_.upper_bound(line);
    if (after == runs_.begin()) return;
    const auto run = std::prev(after);
    if (run->first == line || run->second.end <= line) return;
    Run rest = run->second;
    run->second.end = line;
    runs_.emplace_hint(after, line, rest);
  }

  Runs runs_;
};

class Ordering {
 public:
  explicit Ordering(const Program& program) : steps_(program.steps()) {
    distances_.resize(steps_.size() * kEngineCount, kNoWait);
    find_written();
  }

  std::vector<std::uint16_t> run() {
    std::uint32_t remaining[kLoopDepth] = {};
    for (std::uint32_t index = 0; index < steps_.size(); ++index) {
      const Step& step = steps_[index];
      if (step.instruction.opcode == kLoop) {
        remaining[step.loop_depth] = step.instruction.rows;
        iterations_[step.loop_depth] = 0;
      } else if (step.instruction.opcode == kEnd) {
        if (--remaining[step.loop_depth] != 0) {
          ++iterations_[step.loop_depth];
          index = step.partner;
        }
      } else {
        execute(index, step);
      }
    }
    return std::move(distances_);
  }

 private:
  // Ranges of DRAM that the program writes at any time: nothing need wait for the rest, which is
  // most of it (weights).
  void find_written() {
    std::uint64_t counts[kLoopDepth] = {};
    for (const Step& step : steps_) {
      if (step.instruction.opcode == kLoop) counts[step.loop_depth] = step.instruction.rows;
      if (step.instruction.opcode == kDmaOut) written_.push_back(reach(step, 1, counts));
    }
    std::sort(written_.begin(), written_.end(),
              [](const Range& one, const Range& other) { return one.low < other.low; });
    std::vector<Range> merged;
    for (const Range& range : written_) {
      if (!merged.empty() && range.low <= merged.back().high) {
        merged.back().high = std::max(merged.back().high, range.high);
      } else {
        merged.push_back(range);
      }
    }
    written_ = std::move(merged);
  }

  // All bytes that an operand touches in any iteration.
  static Range reach(const Step& step, int number, const std::uint64_t* counts) {
    const Operand& operand = step.instruction.operands[number];
    auto low = static_cast<std::int64_t>(operand.base);
    std::int64_t high = low + extent_of(step, number);
    for (std::uint32_t level = 0; level < step.loop_depth; ++level) {
      const std::int64_t moved =
          std::int64_t{operand.stride[level]} * static_cast<std::int64_t>(counts[level] - 1);
      (moved < 0 ? low : high) += moved;
    }
    return {static_cast<std::uint64_t>(low), static_cast<std::uint64_t>(high)};
  }

  // From the first byte to the end of the last row, wherever an index may lead.
  static std::int64_t extent_of(const Step& step, int number) {
    const Instruction& instruction = step.instruction;
    auto extent = static_cast<std::int64_t>(step.shapes[number].extent);
    const bool moves = (instruction.opcode == kDmaIn && number == 0) ||
                       (instruction.opcode == kDmaOut && number == 1);
    if (moves && (instruction.flags & kIndexed) != 0) {
      extent += instruction.immediates[0] * (instruction.immediates[1] - 1);
    }
    return extent;
  }

  bool is_written(const Range& bytes) const {
    const auto after =
        std::upper_bound(written_.begin(), written_.end(), bytes.low,
                         [](std::uint64_t low, const Range& range) { return low < range.low; });
    if (after != written_.end() && after->low < bytes.high) return true;
    return after != written_.begin() && std::prev(after)->high > bytes.low;
  }

  // Lines that an operand touches in this iteration.
  Range lines(const Step& step, int number) const {
    const Operand& operand = step.instruction.operands[number];
    auto address = static_cast<std::int64_t>(operand.base);
    std::uint64_t slot = operand.phase;
    for (std::uint32_t level = 0; level < step.loop_depth; ++level) {
      address +=
          std::int64_t{operand.stride[level]} * static_cast<std::int64_t>(iterations_[level]);
      slot += operand.ring[level] * iterations_[level];
    }
    address += static_cast<std::int64_t>(slot % operand.slots * operand.slot_bytes);
    const auto low = static_cast<std::uint64_t>(address);
    const std::uint64_t high = low + static_cast<std::uint64_t>(extent_of(step, number));
    return {low / kLine, (high + kLine - 1) / kLine};
  }

  void execute(std::uint32_t index, const Step& step) {
    Range ranges[kOperandCount] = {};
    bool tracked[kOperandCount] = {};
    Numbers needed;
    for (int number = 0; number < kOperandCount; ++number) {
      const Shape& shape = step.shapes[number];
      if (!shape.used) continue;
      ranges[number] = lines(step, number);
      const Range bytes{ranges[number].low * kLine, ranges[number].high * kLine};
      tracked[number] = shape.space != kDram || is_written(bytes);
      if (tracked[number]) histories_[shape.space].needed(ranges[number], shape.writes, needed);
    }
    const int engine = step.instruction.engine;
    const std::uint32_t own = ++issued_[engine];
    for (int other = 0; other < kEngineCount; ++other) {
      if (other == engine || needed.of[other] == 0) continue;
      const std::uint32_t distance = std::min(issued_[other] - needed.of[other], kNoWait - 1u);
      std::uint16_t& known = distances_[index * kEngineCount + static_cast<std::size_t>(other)];
      known = std::min(known, static_cast<std::uint16_t>(distance));
    }
    for (int number = 0; number < kOperandCount; ++number) {
      const Shape& shape = step.shapes[number];
      if (tracked[number] && shape.writes) {
        histories_[shape.space].write(ranges[number], engine, own);
      }
    }
    for (int number = 0; number < kOperandCount; ++number) {
      const Shape& shape = step.shapes[number];
      if (tracked[number] && shape.reads) {
        histories_[shape.space].read(ranges[number], engine, own);
      }
    }
  }

  const std::vector<Step>& steps_;
  std::vector<Range> written_;  // DRAM, in bytes, ascending and apart
  std::vector<std::uint16_t> distances_;
  std::uint64_t iterations_[kLoopDepth] = {};
  std::uint32_t issued_[kEngineCount] = {};
  History histories_[kSpaceCount];
};

}  // namespace

std::vector<std::uint16_t> wait_distances(const Program& program) {
  return Ordering(program).run();
}

void Program::synchronize() {
  const std::vector<std::uint16_t> distances = wait_distances(*this);
  for (std::size_t index = 0; index < steps_.size(); ++index) {
    std::copy_n(&distances[index * kEngineCount], kEngineCount, steps_[index].instruction.wait);
  }
}

}  // namespace girih
