#include "timing.hpp"

#include <algorithm>

namespace girih {

namespace {

__extension__ typedef unsigned __int128 Wide;

std::uint64_t divide_up(std::uint64_t value, std::uint64_t by) {
  return value / by + (value % by != 0);
}

// Cycles in which the bus moves that many bytes.
std::uint64_t bus_cycles(std::uint64_t bytes, const TimingParameters& parameters) {
  const Wide scaled = Wide{bytes} * parameters.frequency_hz;
  return static_cast<std::uint64_t>((scaled + parameters.dram_bytes_per_second - 1) /
                                    parameters.dram_bytes_per_second);
}

void add_traffic(const Step& step, Cost& cost) {
  for (const Shape& shape : step.shapes) {
    if (!shape.used) continue;
    const std::uint64_t bytes = shape.rows * shape.row_bytes;
    const std::uint64_t read = shape.reads ? bytes : 0;
    const std::uint64_t written = shape.writes ? bytes : 0;
    switch (shape.space) {
      case kDram:
        cost.dram_read_bytes += read;
        cost.dram_write_bytes += written;
        break;
      case kScratchpad:
        cost.scratchpad_read_bytes += read;
        cost.scratchpad_write_bytes += written;
        break;
      default:
        cost.accumulator_read_bytes += read;
        cost.accumulator_write_bytes += written;
    }
  }
}

Cost matmul_cost(const Step& step, const TimingParameters& parameters) {
  const Instruction& instruction = step.instruction;
  const std::uint64_t rows = instruction.rows;
  const std::uint64_t columns = instruction.columns;
  const std::uint64_t depth = instruction.depth;
  const std::uint64_t array_rows = parameters.array_rows;
  const std::uint64_t row_tiles = divide_up(rows, array_rows);
  const std::uint64_t column_tiles = divide_up(columns, parameters.array_columns);
  const std::uint64_t depth_tiles = divide_up(depth, array_rows);
  const std::uint64_t output_bytes = rows * columns * 4;
  const bool accumulate = (instruction.flags & kMatmulAccumulate) != 0;
  Cost cost;
  cost.macs = rows * columns * depth;
  cost.fill = array_rows;
  cost.latency = array_rows + parameters.array_columns - 2;
  cost.scratchpad_read_bytes = rows * depth * column_tiles;
  if (instruction.flags & kOutputStationary) {
    cost.occupancy = row_tiles * column_tiles * std::max(depth, array_rows);
    cost.scratchpad_read_bytes += depth * columns * row_tiles;
    cost.accumulator_write_bytes = output_bytes;
    cost.accumulator_read_bytes = accumulate ? output_bytes : 0;
  } else {
    cost.occupancy = depth_tiles * column_tiles * std::max(rows, array_rows);
    cost.scratchpad_read_bytes += depth * columns;
    cost.accumulator_write_bytes = output_bytes * depth_tiles;
    cost.accumulator_read_bytes = output_bytes * (depth_tiles - (accumulate ? 0 : 1));
  }
  return cost;
}

Cost transfer_cost(const Step& step, const TimingParameters& parameters) {
  const Shape& dram = step.shapes[step.instruction.opcode == kDmaIn ? 0 : 1];
  const bool contiguous = dram.rows == 1 || dram.pitch == dram.row_bytes;
  const std::uint64_t rows = contiguous ? 1 : dram.rows;
  const std::uint64_t row_bytes = contiguous ? dram.rows * dram.row_bytes : dram.row_bytes;
  const std::uint64_t burst = parameters.dram_burst_bytes;
  Cost cost;
  add_traffic(step, cost);
  cost.dram_bus_bytes = rows * divide_up(row_bytes, burst) * burst;
  cost.occupancy = bus_cycles(cost.dram_bus_bytes, parameters) + parameters.dram_overhead;
  cost.latency = parameters.dram_latency;
  if (step.instruction.flags & kIndexed) {
    cost.lead = parameters.dram_latency;
    cost.index_bus_bytes = burst;
    cost.dram_bus_bytes += burst;
  }
  return cost;
}

Cost vector_cost(const Step& step, const TimingParameters& parameters) {
  const Instruction& instruction = step.instruction;
  const std::uint64_t elements = std::uint64_t{instruction.rows} * instruction.columns;
  const std::uint64_t per_element = parameters.vector_cost[instruction.opcode];
  Cost cost;
  add_traffic(step, cost);
  cost.occupancy = divide_up(elements, parameters.vector_lanes) * per_element;
  cost.vector_operations = elements * per_element;
  cost.latency = parameters.vector_latency;
  if (instruction.opcode == kLayerNorm || instruction.opcode == kNormalize) {
    cost.occupancy += divide_up(instruction.rows * parameters.root_divide_cycles,
                                parameters.vector_lanes);
    cost.vector_operations += instruction.rows * parameters.root_divide_cycles;
  }
  return cost;
}

}  // namespace

Cost cost_of(const Step& step, const TimingParameters& parameters) {
  switch (step.instruction.opcode) {
    case kLoop:
    case kEnd:
      return {};
    case kDmaIn:
    case kDmaOut:
      return transfer_cost(step, parameters);
    case kMatmul:
      return matmul_cost(step, parameters);
    default:
      return vector_cost(step, parameters);
  }
}

Timing::Timing(const TimingParameters& parameters)
    : parameters_(parameters), pages_(parameters.pages) {}

Interval Timing::issue(int engine, const Cost& cost, std::uint64_t ready) {
  Interval interval{};
  interval.start = std::max(free_[engine], ready);
  if (engine <= kEngineDmaOut) {
    occupy_bus(engine, cost, interval, [&](std::uint64_t) { return cost.occupancy; });
  } else {
    const bool idle = !used_[engine] || interval.start > free_[engine];
    interval.busy = cost.occupancy + (idle ? cost.fill : 0);
    interval.end = interval.start + interval.busy;
  }
  interval.completion = interval.end + cost.latency;
  free_[engine] = interval.end;
  used_[engine] = true;
  return interval;
}

Interval Timing::issue(int engine, const Cost& cost, std::uint64_t ready, const DramRows& rows) {
  Interval interval{};
  interval.start = std::max(free_[engine], ready);
  const std::uint64_t interval_cycles = parameters_.pages.refresh_interval_cycles;
  PageCounts& counts = interval.pages;
  std::uint64_t before = 0;
  occupy_bus(engine, cost, interval, [&](std::uint64_t at) {
    before = at / interval_cycles;
    const std::uint64_t bus_bytes = pages_.walk(rows, before, counts);
    const std::uint64_t cycles = bus_cycles(bus_bytes, parameters_);
    counts.stall_cycles += cycles - bus_cycles(counts.bus_bytes, parameters_);
    return cycles + parameters_.dram_overhead;
  });
  const std::uint64_t after = (interval.end - 1) / interval_cycles;
  if (after != before) pages_.refreshed(after);
  interval.completion = interval.end + cost.latency;
  free_[engine] = interval.end;
  return interval;
}

// Takes the first free cycles of the bus from the start on, as many as `occupancy` says when told
// the first of them. They need not be contiguous: bursts of the two engines interleave, and what a
// refresh interrupts goes on after it, once the page in use is open again.
template <class Occupancy>
void Timing::occupy_bus(int engine, const Cost& cost, Interval& interval, Occupancy occupancy) {
  const PageParameters& pages = parameters_.pages;
  const std::uint64_t start = interval.start + cost.lead;
  const std::vector<Span>& other = spans_[1 - engine];
  std::size_t& passed = passed_[engine];
  while (passed < other.size() && other[passed].end <= start) ++passed;
  std::uint64_t at = start;
  std::uint64_t refresh = next_refresh(start);
  std::uint64_t cycles = 0;
  std::size_t next = passed;
  while (true) {
    if (next < other.size() && other[next].start <= at) {
      at = std::max(at, other[next].end);
      ++next;
      continue;
    }
    if (refresh <= at) {
      const std::uint64_t over = refresh + pages.refresh_cycles;
      interval.pages.refresh_cycles += over - at;
      at = over;
      refresh += pages.refresh_interval_cycles;
      if (interval.busy != 0) {
        ++interval.pages.misses;
        interval.pages.stall_cycles += pages.reopen_cycles;
        interval.busy += pages.reopen_cycles;
        cycles += pages.reopen_cycles;
      }
      continue;
    }
    if (interval.busy == 0) interval.busy = cycles = occupancy(at);
    std::uint64_t gap = std::min(cycles, refresh - at);
    if (next < other.size()) gap = std::min(gap, other[next].start - at);
    append(engine, at, at + gap);
    at += gap;
    cycles -= gap;
    if (cycles == 0) {
      interval.end = at;
      return;
    }
  }
}

// The beginning of the first refresh that is not over at `cycle`. No transfer of the other engine
// lies across one, so that no search for a free cycle can miss one.
std::uint64_t Timing::next_refresh(std::uint64_t cycle) const {
  const std::uint64_t interval = parameters_.pages.refresh_interval_cycles;
  if (interval == 0) return ~std::uint64_t{0};
  const std::uint64_t number = std::max<std::uint64_t>(1, cycle / interval);
  const std::uint64_t start = number * interval;
  return cycle < start + parameters_.pages.refresh_cycles ? start : start + interval;
}

void Timing::append(int engine, std::uint64_t start, std::uint64_t end) {
  std::vector<Span>& spans = spans_[engine];
  // Touching spans grow into one, except one that the other engine may have looked at already:
  // it remembers spans by number.
  if (!spans.empty() && spans.back().end == start && spans.size() > passed_[1 - engine]) {
    spans.back().end = end;
  } else {
    spans.push_back({start, end});
  }
}

}  // namespace girih
