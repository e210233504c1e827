// Which DRAM rows a transfer opens, and how long the bus waits for them: docs/isa.md, Timing,
// "Open pages".
#pragma once

#include <cstdint>
#include <vector>

namespace girih {

// Times are in bus bytes, the time in which the bus moves one byte, but for those of refresh.
struct PageParameters {
  std::uint32_t page_shift = 0;   // log2 of the bytes of a page
  std::uint32_t burst_shift = 0;  // log2 of the bytes of a burst
  std::uint32_t banks = 0;        // a power of two; zero: no page model
  std::uint64_t activate = 0;
  std::uint64_t precharge = 0;
  std::uint64_t row_cycle = 0;
  std::uint64_t activate_gap = 0;
  std::uint64_t overhead = 0;  // of a transfer, before its first burst: pages open meanwhile
  std::uint64_t refresh_interval_cycles = 0;
  std::uint64_t refresh_cycles = 0;
  std::uint64_t reopen_cycles = 0;  // of the page in use, after a refresh
};

// The DRAM side of a transfer.
struct DramRows {
  std::uint64_t address;
  std::uint64_t pitch;
  std::uint64_t rows;
  std::uint64_t row_bytes;
};

// What the pages made of transfers.
struct PageCounts {
  std::uint64_t bus_bytes = 0;  // of the bursts
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;     // of a bank without an open page
  std::uint64_t conflicts = 0;  // of a bank with another page open
  std::uint64_t stall_cycles = 0;
  std::uint64_t refresh_cycles = 0;
};

// The open page of each bank. Transfers come in program order.
class DramPages {
 public:
  explicit DramPages(const PageParameters& parameters);

  // Walks a transfer that begins after `refreshes`; returns the bus bytes from the end of its
  // overhead to that of its last burst, waits for rows included, and adds its counts.
  std::uint64_t walk(const DramRows& rows, std::uint64_t refreshes, PageCounts& counts);

  // Some refresh fell into the transfer just walked, the last being number `refreshes`: only the
  // page in use is opened again.
  void refreshed(std::uint64_t refreshes);

 private:
  struct Bank {
    std::uint64_t page = kNone;
    std::uint64_t refreshes = 0;  // that had been when it was last used
    std::uint64_t transfer = 0;   // that used it last; the times below are in that transfer
    std::uint64_t idle = 0;
    std::uint64_t earliest_activate = 0;
  };
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  PageParameters parameters_;
  std::vector<Bank> banks_;
  std::uint64_t transfer_ = 0;
  std::uint64_t page_ = kNone;  // of the last burst
};

}  // namespace girih
