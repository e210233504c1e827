// Matrix products of any size: packs b when that pays, remembers what it packed, shares large
// products between threads.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.hpp"

namespace girih {

// What makes packed weights reusable: where b lies, how it is shaped, and the clocks of the last
// writes to those bytes. A later write has a later clock, so equal keys mean equal bytes.
struct PackKey {
  std::uint64_t address;
  std::uint64_t pitch;
  std::uint64_t columns;
  std::uint64_t depth;
  bool transposed;
  std::uint32_t written[2];

  bool operator==(const PackKey&) const = default;
};

class Multiplier {
 public:
  // `task.packed` is filled in here; `b` points at the bytes that `key` describes.
  void run(const Kernels& kernels, std::uint32_t threads, MatmulTask task, const std::uint8_t* b,
           const PackKey& key);
  void forget() { entries_.clear(); }

 private:
  struct Entry {
    PackKey key;
    std::uint64_t last_use;
    std::vector<std::uint8_t> packed;
  };

  Entry& find_or_replace(const PackKey& key, bool& found);

  std::vector<Entry> entries_;
  std::uint64_t uses_ = 0;
};

}  // namespace girih
