// When each instruction starts and ends: docs/isa.md, Timing. Knows nothing of data.
#pragma once

#include <cstdint>
#include <vector>

#include "dram_pages.hpp"
#include "encoding.hpp"
#include "program.hpp"

namespace girih {

// The numbers of a target that time depends on.
struct TimingParameters {
  std::uint64_t frequency_hz;
  std::uint32_t array_rows;
  std::uint32_t array_columns;
  std::uint32_t vector_lanes;
  std::uint64_t vector_latency;
  std::uint64_t vector_cost[kOpcodeCount];  // cycles of a lane per element
  std::uint64_t root_divide_cycles;
  std::uint64_t dram_bytes_per_second;
  std::uint64_t dram_latency;
  std::uint64_t dram_burst_bytes;
  std::uint64_t dram_overhead;
  PageParameters pages;
};

// What an instruction costs, the same in every iteration.
struct Cost {
  std::uint64_t occupancy = 0;
  std::uint64_t fill = 0;     // more occupancy, when the engine was idle before
  std::uint64_t latency = 0;  // from the end of occupancy to completion
  std::uint64_t lead = 0;     // from the start to the first use of the DRAM bus
  std::uint64_t macs = 0;
  std::uint64_t vector_operations = 0;
  std::uint64_t dram_read_bytes = 0;
  std::uint64_t dram_write_bytes = 0;
  std::uint64_t dram_bus_bytes = 0;  // both ways, rows rounded up to bursts
  std::uint64_t index_bus_bytes = 0;  // those of them that read an index
  std::uint64_t scratchpad_read_bytes = 0;
  std::uint64_t scratchpad_write_bytes = 0;
  std::uint64_t accumulator_read_bytes = 0;
  std::uint64_t accumulator_write_bytes = 0;
};

Cost cost_of(const Step& step, const TimingParameters& parameters);

struct Interval {
  std::uint64_t start;
  std::uint64_t end;         // of occupancy
  std::uint64_t completion;  // when waiting engines may go on
  std::uint64_t busy;        // cycles of the engine itself
  PageCounts pages{};        // of a transfer, where the target has pages
};

class Timing {
 public:
  explicit Timing(const TimingParameters& parameters);

  // Times the next instruction of `engine`, which may not start before `ready`.
  Interval issue(int engine, const Cost& cost, std::uint64_t ready);
  // The same for a transfer where the target has pages.
  Interval issue(int engine, const Cost& cost, std::uint64_t ready, const DramRows& rows);

 private:
  struct Span {
    std::uint64_t start;
    std::uint64_t end;
  };

  template <class Occupancy>
  void occupy_bus(int engine, const Cost& cost, Interval& interval, Occupancy occupancy);
  std::uint64_t next_refresh(std::uint64_t cycle) const;
  void append(int engine, std::uint64_t start, std::uint64_t end);

  const TimingParameters& parameters_;
  DramPages pages_;
  std::uint64_t free_[kEngineCount] = {};
  bool used_[kEngineCount] = {};
  // Bus time taken by each transfer engine, ascending. An engine is in order, so it looks only at
  // the other's spans, and never again at those that lie before its own last start.
  std::vector<Span> spans_[2];
  std::size_t passed_[2] = {};  // spans of the *other* engine that this one is done with
};

}  // namespace girih
