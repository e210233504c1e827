#include "dram_pages.hpp"

#include <algorithm>

namespace girih {

DramPages::DramPages(const PageParameters& parameters)
    : parameters_(parameters), banks_(parameters.banks) {}

std::uint64_t DramPages::walk(const DramRows& rows, std::uint64_t refreshes, PageCounts& counts) {
  const PageParameters& parameters = parameters_;
  const std::uint32_t burst_shift = parameters.burst_shift;
  const std::uint32_t bursts_shift = parameters.page_shift - burst_shift;  // bursts of a page
  ++transfer_;
  page_ = kNone;
  Bank* bank = nullptr;  // of page_
  std::uint64_t end = parameters.overhead;
  std::uint64_t next_activate = 0;
  std::uint64_t bursts = 0;
  std::uint64_t opened = 0;
  const auto visit = [&](std::uint64_t page, std::uint64_t count) {
    bursts += count;
    const std::uint64_t bytes = count << burst_shift;
    if (page == page_) {
      end += bytes;
      bank->idle = end;
      return;
    }
    page_ = page;
    bank = &banks_[page & (parameters.banks - 1)];
    if (bank->transfer != transfer_) {
      if (bank->refreshes < refreshes) bank->page = kNone;
      bank->refreshes = refreshes;
      bank->transfer = transfer_;
      bank->idle = 0;
      bank->earliest_activate = 0;
    }
    if (bank->page != page) {
      ++opened;
      std::uint64_t at = bank->idle;
      if (bank->page == kNone) {
        ++counts.misses;
      } else {
        ++counts.conflicts;
        at += parameters.precharge;
      }
      at = std::max({at, bank->earliest_activate, next_activate});
      next_activate = at + parameters.activate_gap;
      bank->earliest_activate = at + parameters.row_cycle;
      bank->page = page;
      end = std::max(end, at + parameters.activate);
    }
    end += bytes;
    bank->idle = end;
  };
  for (std::uint64_t row = 0; row < rows.rows; ++row) {
    const std::uint64_t address = rows.address + row * rows.pitch;
    std::uint64_t burst = address >> burst_shift;
    const std::uint64_t last = (address + rows.row_bytes - 1) >> burst_shift;
    while (burst <= last) {
      const std::uint64_t page = burst >> bursts_shift;
      const std::uint64_t next = std::min(last + 1, (page + 1) << bursts_shift);
      visit(page, next - burst);
      burst = next;
    }
  }
  counts.hits += bursts - opened;
  counts.bus_bytes += bursts << burst_shift;
  return end - parameters.overhead;
}

void DramPages::refreshed(std::uint64_t refreshes) {
  for (Bank& bank : banks_) bank.page = kNone;
  Bank& bank = banks_[page_ & (parameters_.banks - 1)];
  bank.page = page_;
  bank.refreshes = refreshes;
}

}  // namespace girih
