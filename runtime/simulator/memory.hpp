// A memory of the machine: its bytes, which of them are initialized, and when each 16-byte line was
// last read and written by each engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "encoding.hpp"
#include "kernels.hpp"

namespace girih {

inline constexpr std::uint64_t kLineShift = 4;
inline constexpr std::uint64_t kBlockShift = 6;  // lines of a block (LineClocks)
// Kernels may read this many bytes behind the end of a memory (never use them).
inline constexpr std::uint64_t kSlackBytes = 64;

// Zeroed memory, aligned to 64 bytes, whose pages cost nothing until they are touched.
class ZeroedBuffer {
 public:
  ZeroedBuffer() = default;
  explicit ZeroedBuffer(std::size_t bytes);
  void* get() const { return aligned_; }
  explicit operator bool() const { return aligned_ != nullptr; }

 private:
  struct Free {
    void operator()(void* pointer) const;
  };
  std::unique_ptr<void, Free> block_;
  void* aligned_ = nullptr;
};

// Rows of bytes in a memory.
struct Region {
  std::uint64_t address;
  std::uint64_t pitch;
  std::uint64_t rows;
  std::uint64_t row_bytes;
};

class Memory {
 public:
  // `readers` and `writers`: the engines that can, as bits.
  Memory(std::uint64_t bytes, unsigned readers, unsigned writers);

  // Allocates on first use: a machine that only keeps time needs no memory.
  void allocate();
  bool allocated() const { return static_cast<bool>(data_); }
  std::uint64_t bytes() const { return bytes_; }
  std::uint8_t* data() const { return static_cast<std::uint8_t*>(data_.get()); }

  // `lines` is null where the engine never reads or never writes this memory.
  LineClocks reads(int engine) const { return clocks(reads_[engine]); }
  LineClocks writes(int engine) const { return clocks(writes_[engine]); }

  void mark_initialized(const Region& region);
  // The address of the first byte of the region that nothing has written, or kNone.
  std::uint64_t first_uninitialized(const Region& region) const;
  void forget_contents();
  void forget_order();

  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

 private:
  std::uint64_t blocks() const { return (bytes_ >> (kLineShift + kBlockShift)) + 1; }
  LineClocks clocks(const ZeroedBuffer& buffer) const {
    auto* const whole = static_cast<std::uint32_t*>(buffer.get());
    if (whole == nullptr) return {};
    return {whole + 2 * blocks(), whole, whole + blocks()};
  }
  std::uint64_t* words() const { return static_cast<std::uint64_t*>(initialized_.get()); }
  void allocate_order();

  std::uint64_t bytes_;
  unsigned readers_;
  unsigned writers_;
  ZeroedBuffer data_;
  ZeroedBuffer initialized_;  // a bit per byte
  ZeroedBuffer reads_[kEngineCount];
  ZeroedBuffer writes_[kEngineCount];
};

}  // namespace girih
