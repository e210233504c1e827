#include "memory.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

namespace girih {

namespace {

constexpr std::uint64_t kAll = ~std::uint64_t{0};

// Bits [low, high) of a word, high > low.
std::uint64_t mask(std::uint64_t low, std::uint64_t high) {
  return (kAll << low) & (kAll >> (64 - high));
}

void set_bits(std::uint64_t* words, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t first = begin >> 6;
  const std::uint64_t last = (end - 1) >> 6;
  if (first == last) {
    words[first] |= mask(begin & 63, ((end - 1) & 63) + 1);
    return;
  }
  words[first] |= mask(begin & 63, 64);
  for (std::uint64_t word = first + 1; word < last; ++word) words[word] = kAll;
  words[last] |= mask(0, ((end - 1) & 63) + 1);
}

// The first bit of [begin, end) that is not set, or Memory::kNone.
std::uint64_t find_clear(const std::uint64_t* words, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t first = begin >> 6;
  const std::uint64_t last = (end - 1) >> 6;
  const auto clear = [words](std::uint64_t word, std::uint64_t wanted) {
    const std::uint64_t missing = ~words[word] & wanted;
    return missing == 0 ? Memory::kNone
                        : (word << 6) + static_cast<std::uint64_t>(std::countr_zero(missing));
  };
  if (first == last) return clear(first, mask(begin & 63, ((end - 1) & 63) + 1));
  std::uint64_t found = clear(first, mask(begin & 63, 64));
  std::uint64_t word = first + 1;
  for (; word + 8 <= last; word += 8) {  // eight at a time, as long as all bits are set
    std::uint64_t all = kAll;
    for (std::uint64_t i = 0; i < 8; ++i) all &= words[word + i];
    if (all != kAll) break;
  }
  for (; word < last && found == Memory::kNone; ++word) found = clear(word, kAll);
  return found != Memory::kNone ? found : clear(last, mask(0, ((end - 1) & 63) + 1));
}

bool contiguous(const Region& region) {
  return region.rows == 1 || region.pitch == region.row_bytes;
}

}  // namespace

ZeroedBuffer::ZeroedBuffer(std::size_t bytes) : block_(std::calloc(bytes + 64, 1)) {
  if (block_ == nullptr) throw std::bad_alloc();
  const auto address = reinterpret_cast<std::uintptr_t>(block_.get());
  aligned_ = static_cast<std::uint8_t*>(block_.get()) + ((64 - address % 64) % 64);
}

void ZeroedBuffer::Free::operator()(void* pointer) const { std::free(pointer); }

Memory::Memory(std::uint64_t bytes, unsigned readers, unsigned writers)
    : bytes_(bytes), readers_(readers), writers_(writers) {}

void Memory::allocate() {
  if (data_) return;
  initialized_ = ZeroedBuffer((bytes_ / 64 + 1) * 8);
  allocate_order();
  data_ = ZeroedBuffer(bytes_ + kSlackBytes);
}

void Memory::allocate_order() {
  const std::uint64_t lines = (2 + (std::uint64_t{1} << kBlockShift)) * blocks();
  for (int engine = 0; engine < kEngineCount; ++engine) {
    if (readers_ & (1u << engine)) reads_[engine] = ZeroedBuffer(lines * 4);
    if (writers_ & (1u << engine)) writes_[engine] = ZeroedBuffer(lines * 4);
  }
}

void Memory::forget_order() {
  if (data_) allocate_order();
}

void Memory::forget_contents() { std::memset(words(), 0, (bytes_ / 64 + 1) * 8); }

void Memory::mark_initialized(const Region& region) {
  if (contiguous(region)) {
    set_bits(words(), region.address, region.address + region.rows * region.row_bytes);
    return;
  }
  for (std::uint64_t row = 0; row < region.rows; ++row) {
    const std::uint64_t begin = region.address + row * region.pitch;
    set_bits(words(), begin, begin + region.row_bytes);
  }
}

std::uint64_t Memory::first_uninitialized(const Region& region) const {
  if (contiguous(region)) {
    return find_clear(words(), region.address, region.address + region.rows * region.row_bytes);
  }
  for (std::uint64_t row = 0; row < region.rows; ++row) {
    const std::uint64_t begin = region.address + row * region.pitch;
    const std::uint64_t found = find_clear(words(), begin, begin + region.row_bytes);
    if (found != kNone) return found;
  }
  return kNone;
}

}  // namespace girih
