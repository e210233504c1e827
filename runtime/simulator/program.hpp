// A program that has been read and found well formed, with all that does not change from iteration
// to iteration worked out once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "encoding.hpp"

namespace girih {

// The bytes that an operand touches: `rows` runs of `row_bytes`, `pitch` apart.
struct Shape {
  bool used = false;
  bool reads = false;
  bool writes = false;
  std::uint8_t space = 0;
  std::uint8_t element_bytes = 1;
  std::uint64_t rows = 0;
  std::uint64_t row_bytes = 0;
  std::uint64_t pitch = 0;
  std::uint64_t extent = 0;  // from the first byte to the end of the last row
};

struct Step {
  Instruction instruction{};
  Shape shapes[kOperandCount];
  std::uint32_t loop_depth = 0;  // open loops around it
  std::uint32_t partner = 0;     // loop: its end; end: its loop
  std::uint32_t tag_slot = 0;    // index in Program::tags
};

class Program {
 public:
  // Reads and checks a whole program file. Throws ProgramError.
  Program(const std::uint8_t* data, std::size_t bytes);

  const Header& header() const { return header_; }
  const std::vector<Step>& steps() const { return steps_; }
  // The distinct tags of instructions that run on an engine, ascending.
  const std::vector<std::uint32_t>& tags() const { return tags_; }
  // Gives each instruction the waits that it needs, whatever it had (ordering.cpp).
  void synchronize();
  // Instructions that the loops issue to engines in all.
  std::uint64_t issued() const { return issued_; }

 private:
  void check_loops();
  void collect_tags();

  Header header_{};
  std::vector<Step> steps_;
  std::vector<std::uint32_t> tags_;
  std::uint64_t issued_ = 0;
};

// A program whose loops issue more instructions than this is refused: it is a mistake, and clocks
// are 32 bits wide.
inline constexpr std::uint64_t kIssueLimit = std::uint64_t{1} << 30;

// Checks one instruction other than a loop or end and fills in its shapes (validate.cpp).
void validate(std::uint32_t index, Step& step, const Header& header);

// "instruction 3 (matmul)", for errors that are not about one execution of it.
std::string place(std::uint32_t index, const Instruction& instruction);

std::uint32_t crc32(const std::uint8_t* data, std::size_t bytes);

}  // namespace girih
