#include "program.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "errors.hpp"

namespace girih {

namespace {

constexpr char kMagic[8] = {'G', 'I', 'R', 'I', 'H', 'N', 'P', 'U'};
constexpr std::uint32_t kVersion = 2;

using CrcTables = std::array<std::array<std::uint32_t, 256>, 8>;

// Eight tables: eight bytes a step (Intel's slicing-by-8), since whole programs are checked on load.
constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0u);
    tables[0][byte] = value;
  }
  for (std::size_t table = 1; table < 8; ++table) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t previous = tables[table - 1][byte];
      tables[table][byte] = (previous >> 8) ^ tables[0][previous & 255];
    }
  }
  return tables;
}

constexpr CrcTables kCrcTables = make_crc_tables();

}  // namespace

std::uint32_t crc32(const std::uint8_t* data, std::size_t bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (; bytes >= 8; data += 8, bytes -= 8) {
    std::uint32_t low;
    std::uint32_t high;
    std::memcpy(&low, data, 4);
    std::memcpy(&high, data + 4, 4);
    low ^= crc;
    crc = kCrcTables[7][low & 255] ^ kCrcTables[6][(low >> 8) & 255] ^
          kCrcTables[5][(low >> 16) & 255] ^ kCrcTables[4][low >> 24] ^ kCrcTables[3][high & 255] ^
          kCrcTables[2][(high >> 8) & 255] ^ kCrcTables[1][(high >> 16) & 255] ^
          kCrcTables[0][high >> 24];
  }
  for (; bytes > 0; ++data, --bytes) crc = (crc >> 8) ^ kCrcTables[0][(crc ^ *data) & 255];
  return crc ^ 0xFFFFFFFFu;
}

const char* opcode_name(std::uint8_t opcode) {
  static constexpr const char* kNames[kOpcodeCount] = {
      "loop", "end",  "dma_in",     "dma_out", "fill",        "matmul",   "rescale",
      "add",  "gelu", "layer_norm", "scores",  "exponential", "normalize",
      "multiply", "fold"};
  return opcode < kOpcodeCount ? kNames[opcode] : "unknown opcode";
}

const char* engine_name(std::uint8_t engine) {
  static constexpr const char* kNames[kEngineCount] = {"dma_in", "dma_out", "matrix", "vector"};
  return engine < kEngineCount ? kNames[engine] : "none";
}

const char* space_name(std::uint8_t space) {
  static constexpr const char* kNames[kSpaceCount] = {"dram", "scratchpad", "accumulator"};
  return space < kSpaceCount ? kNames[space] : "unknown space";
}

const char* dtype_name(std::uint8_t dtype) {
  static constexpr const char* kNames[kDTypeCount] = {"i8", "u8", "i16", "i32"};
  return dtype < kDTypeCount ? kNames[dtype] : "unknown dtype";
}

std::string hexadecimal(std::uint64_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  do {
    text.insert(text.begin(), kDigits[value & 15]);
    value >>= 4;
  } while (value != 0);
  return "0x" + text;
}

std::string place(std::uint32_t index, const Instruction& instruction) {
  std::string text = "instruction " + std::to_string(index) + " (";
  text += opcode_name(instruction.opcode);
  if (instruction.opcode >= kOpcodeCount) text += " " + std::to_string(instruction.opcode);
  return text + "): ";
}

Program::Program(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < sizeof(Header) || std::memcmp(data, kMagic, sizeof kMagic) != 0) {
    throw ProgramError(-1, "not a program file: expected 64 bytes of header that begin with "
                           "GIRIHNPU, found " + std::to_string(bytes) + " bytes");
  }
  std::memcpy(&header_, data, sizeof(Header));
  if (header_.version != kVersion) {
    throw ProgramError(-1, "program file version " + std::to_string(header_.version) +
                               ": this girih reads version 2; compile the program again");
  }
  Header clean = header_;
  clean.header_checksum = 0;
  std::uint8_t raw[sizeof(Header)];
  std::memcpy(raw, &clean, sizeof raw);
  const std::uint32_t header_checksum = crc32(raw, sizeof raw);
  const bool padded = header_.padding[0] != 0 || header_.padding[1] != 0 || header_.padding[2] != 0;
  if (header_checksum != header_.header_checksum || header_.header_bytes != sizeof(Header) ||
      padded) {
    throw ProgramError(-1, "program file is damaged: the header's checksum is " +
                               hexadecimal(header_checksum) + ", expected " +
                               hexadecimal(header_.header_checksum));
  }
  const std::uint64_t expected =
      sizeof(Header) + std::uint64_t{header_.instruction_count} * sizeof(Instruction);
  if (bytes != expected) {
    throw ProgramError(-1, "program file is damaged: " +
                               std::to_string(header_.instruction_count) + " instructions take " +
                               std::to_string(expected) + " bytes, found " + std::to_string(bytes));
  }
  const std::uint32_t checksum = crc32(data + sizeof(Header), bytes - sizeof(Header));
  if (checksum != header_.instructions_checksum) {
    throw ProgramError(-1, "program file is damaged: the instructions' checksum is " +
                               hexadecimal(checksum) + ", expected " +
                               hexadecimal(header_.instructions_checksum));
  }
  steps_.resize(header_.instruction_count);
  for (std::size_t index = 0; index < steps_.size(); ++index) {
    std::memcpy(&steps_[index].instruction, data + sizeof(Header) + index * sizeof(Instruction),
                sizeof(Instruction));
    if (steps_[index].instruction.opcode >= kOpcodeCount) {
      throw ProgramError(static_cast<std::int64_t>(index),
                         place(static_cast<std::uint32_t>(index), steps_[index].instruction) +
                             "expected an opcode below " + std::to_string(kOpcodeCount));
    }
  }
  check_loops();
  for (std::uint32_t index = 0; index < steps_.size(); ++index) {
    validate(index, steps_[index], header_);
  }
  collect_tags();
}

void Program::check_loops() {
  std::vector<std::uint32_t> open;
  std::vector<std::uint64_t> counts{1};  // executions of the body at each depth, saturated
  for (std::uint32_t index = 0; index < steps_.size(); ++index) {
    Step& step = steps_[index];
    const auto refuse = [&](const std::string& message) {
      throw ProgramError(index, place(index, step.instruction) + message);
    };
    if (step.instruction.opcode == kLoop) {
      if (open.size() == kLoopDepth) refuse("loops nest at most 4 deep, found a fifth level");
      if (step.instruction.rows == 0) refuse("expected a count of at least 1, found 0");
      step.loop_depth = static_cast<std::uint32_t>(open.size());
      open.push_back(index);
      // Saturates instead of overflowing: 2^31 times 2^32 still fits.
      counts.push_back(std::min(counts.back() * step.instruction.rows, 2 * kIssueLimit));
    } else if (step.instruction.opcode == kEnd) {
      if (open.empty()) refuse("no loop is open here");
      if (open.back() + 1 == index) refuse("the body of its loop is empty");
      step.partner = open.back();
      steps_[open.back()].partner = index;
      open.pop_back();
      counts.pop_back();
      step.loop_depth = static_cast<std::uint32_t>(open.size());
      // Empty nests issue nothing but still take the simulator time.
      issued_ = std::min(issued_ + counts.back(), 2 * kIssueLimit);
    } else {
      step.loop_depth = static_cast<std::uint32_t>(open.size());
      issued_ = std::min(issued_ + counts.back(), 2 * kIssueLimit);
    }
    if (issued_ > kIssueLimit) {
      refuse("the loops issue more than " + std::to_string(kIssueLimit) + " instructions");
    }
  }
  if (!open.empty()) {
    throw ProgramError(open.back(), place(open.back(), steps_[open.back()].instruction) +
                                        "the loop has no end");
  }
}

void Program::collect_tags() {
  for (const Step& step : steps_) {
    if (step.instruction.engine != kEngineNone) tags_.push_back(step.instruction.tag);
  }
  std::sort(tags_.begin(), tags_.end());
  tags_.erase(std::unique(tags_.begin(), tags_.end()), tags_.end());
  for (Step& step : steps_) {
    const auto found = std::lower_bound(tags_.begin(), tags_.end(), step.instruction.tag);
    step.tag_slot = static_cast<std::uint32_t>(found - tags_.begin());
  }
}

}  // namespace girih
