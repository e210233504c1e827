// The binary form of programs: docs/isa.md, which also names every field and number here.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace girih {

static_assert(std::endian::native == std::endian::little,
              "program files and memories are little endian and read in place");

enum Opcode : std::uint8_t {
  kLoop = 0,
  kEnd = 1,
  kDmaIn = 2,
  kDmaOut = 3,
  kFill = 4,
  kMatmul = 5,
  kRescale = 6,
  kAdd = 7,
  kGelu = 8,
  kLayerNorm = 9,
  kScores = 10,
  kExponential = 11,
  kNormalize = 12,
  kMultiply = 13,
  kFold = 14,
  kOpcodeCount = 15,
};

enum Engine : std::uint8_t {
  kEngineDmaIn = 0,
  kEngineDmaOut = 1,
  kEngineMatrix = 2,
  kEngineVector = 3,
  kEngineCount = 4,
  kEngineNone = 255,
};

enum Space : std::uint8_t { kDram = 0, kScratchpad = 1, kAccumulator = 2, kSpaceCount = 3 };

enum DType : std::uint8_t { kI8 = 0, kU8 = 1, kI16 = 2, kI32 = 3, kDTypeCount = 4 };

// Flags, by opcode.
inline constexpr std::uint16_t kIndexed = 1;            // dma_in, dma_out
inline constexpr std::uint16_t kUnpack = 2;             // dma_in
inline constexpr std::uint16_t kTransposed = 1;         // matmul
inline constexpr std::uint16_t kMatmulAccumulate = 2;   // matmul
inline constexpr std::uint16_t kOutputStationary = 4;   // matmul
inline constexpr std::uint16_t kScalar = 1;             // rescale
inline constexpr std::uint16_t kRowParameters = 2;      // rescale
inline constexpr std::uint16_t kUncentered = 1;         // layer_norm
inline constexpr std::uint16_t kMasked = 1;             // scores
inline constexpr std::uint16_t kCausal = 2;             // scores

inline constexpr std::uint16_t kNoWait = 0xFFFF;
inline constexpr int kLoopDepth = 4;
inline constexpr int kOperandCount = 4;
inline constexpr int kGeluTableEntries = 1024;
// A packed group of weights: a scale, then two nibbles a byte.
inline constexpr int kGroup = 32;
inline constexpr int kPackedGroupBytes = 1 + kGroup / 2;

struct Operand {
  std::uint64_t base;
  std::uint32_t pitch;
  std::uint32_t slot_bytes;
  std::int32_t stride[kLoopDepth];
  std::uint8_t ring[kLoopDepth];
  std::uint8_t space;
  std::uint8_t dtype;
  std::uint8_t slots;  // 0: the operand is unused
  std::uint8_t phase;
};

struct Instruction {
  std::uint8_t opcode;
  std::uint8_t engine;
  std::uint16_t flags;
  std::uint16_t wait[kEngineCount];
  std::uint32_t rows;
  std::uint32_t columns;
  std::uint32_t depth;
  std::uint32_t tag;
  std::uint32_t reserved;
  std::int64_t immediates[8];
  Operand operands[kOperandCount];
};

struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t header_bytes;
  std::uint32_t instruction_count;
  std::uint32_t scratchpad_bytes;
  std::uint32_t accumulator_bytes;
  std::uint16_t array_rows;
  std::uint16_t array_columns;
  std::uint64_t dram_bytes;
  std::uint32_t vector_lanes;
  std::uint32_t instructions_checksum;
  std::uint32_t header_checksum;
  std::uint32_t padding[3];
};

// The structs are the file format: no field may move.
static_assert(sizeof(Operand) == 40 && std::is_trivially_copyable_v<Operand>);
static_assert(sizeof(Instruction) == 256 && std::is_trivially_copyable_v<Instruction>);
static_assert(sizeof(Header) == 64 && std::is_trivially_copyable_v<Header>);

const char* opcode_name(std::uint8_t opcode);
const char* engine_name(std::uint8_t engine);
const char* space_name(std::uint8_t space);
const char* dtype_name(std::uint8_t dtype);

// Bytes of an element.
inline constexpr std::uint32_t dtype_bytes(std::uint8_t dtype) {
  return dtype == kI32 ? 4 : dtype == kI16 ? 2 : 1;
}

// The engine that executes an opcode below kOpcodeCount.
inline constexpr std::uint8_t engine_of(std::uint8_t opcode) {
  switch (opcode) {
    case kLoop:
    case kEnd:
      return kEngineNone;
    case kDmaIn:
      return kEngineDmaIn;
    case kDmaOut:
      return kEngineDmaOut;
    case kMatmul:
      return kEngineMatrix;
    default:
      return kEngineVector;
  }
}

}  // namespace girih
