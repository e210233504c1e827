// What makes an instruction well formed, whatever the data: one table row per opcode.

#include <limits>

#include "errors.hpp"
#include "program.hpp"

namespace girih {

namespace {

// Sets of spaces and dtypes, as bits.
constexpr unsigned kInDram = 1u << kDram;
constexpr unsigned kInScratchpad = 1u << kScratchpad;
constexpr unsigned kInAccumulator = 1u << kAccumulator;
constexpr unsigned kOnChip = kInScratchpad | kInAccumulator;
constexpr unsigned kIsI8 = 1u << kI8;
constexpr unsigned kIsU8 = 1u << kU8;
constexpr unsigned kIsI16 = 1u << kI16;
constexpr unsigned kIsI32 = 1u << kI32;
constexpr unsigned kAny = kIsI8 | kIsU8 | kIsI16 | kIsI32;

enum class Extent : std::uint8_t {
  kTile,        // rows x columns elements
  kTileBytes,   // rows x columns bytes, whatever the dtype
  kMaybePacked,  // the same; with flag unpack, packed groups of columns
  kMatrixA,     // rows x depth
  kMatrixB,     // depth x columns, or columns x depth when transposed
  kParameters3,  // 3 x columns
  kParameters2,  // 2 x columns
  kNormParameters,  // 2 x columns, or 1 x columns when uncentered
  kTable,       // 1 x 1024
  kPerRow,      // rows x 1
  kPairPerRow,  // rows x 2
  kTotalled,    // rows x (columns + 1)
  kIndex,       // 1 x 1
};

enum class Presence : std::uint8_t { kNever, kAlways, kWithFlag, kWithoutFlag };

struct Rule {
  Presence presence = Presence::kNever;
  std::uint16_t flag = 0;
  unsigned spaces = 0;
  unsigned dtypes = 0;
  Extent extent = Extent::kTile;
  bool writes = false;
  bool reads = false;                 // a target that is also read
  std::uint16_t reads_with_flag = 0;  // the same, when the flag is set
  bool broadcast = false;             // pitch 0 repeats the first row
};

struct OpcodeRules {
  std::uint16_t flags;
  Rule operands[kOperandCount];
};

constexpr Rule source(unsigned spaces, unsigned dtypes, Extent extent = Extent::kTile) {
  return {Presence::kAlways, 0, spaces, dtypes, extent, false, true, 0, false};
}
constexpr Rule target(unsigned spaces, unsigned dtypes, Extent extent = Extent::kTile,
                      std::uint16_t reads_with_flag = 0) {
  return {Presence::kAlways, 0, spaces, dtypes, extent, true, false, reads_with_flag, false};
}
constexpr Rule updated(unsigned spaces, unsigned dtypes, Extent extent) {
  return {Presence::kAlways, 0, spaces, dtypes, extent, true, true, 0, false};
}
constexpr Rule kNothing{};

constexpr OpcodeRules kRules[kOpcodeCount] = {
    {0, {}},  // loop
    {0, {}},  // end
    {kIndexed | kUnpack,
     {source(kInDram, kAny, Extent::kMaybePacked), target(kInScratchpad, kAny, Extent::kTileBytes),
      {Presence::kWithFlag, kIndexed, kInDram, kIsI32, Extent::kIndex, false, true, 0,
       false}, kNothing}},
    {kIndexed,
     {source(kInScratchpad, kAny, Extent::kTileBytes), target(kInDram, kAny, Extent::kTileBytes),
      {Presence::kWithFlag, kIndexed, kInDram, kIsI32, Extent::kIndex, false, true, 0,
       false}, kNothing}},
    {0, {target(kInScratchpad, kAny), kNothing, kNothing, kNothing}},
    {kTransposed | kMatmulAccumulate | kOutputStationary,
     {source(kInScratchpad, kIsI8 | kIsU8, Extent::kMatrixA),
      source(kInScratchpad, kIsI8, Extent::kMatrixB),
      target(kInAccumulator, kIsI32, Extent::kTile, kMatmulAccumulate), kNothing}},
    {kScalar | kRowParameters,
     {source(kOnChip, kIsI8 | kIsI16 | kIsI32), target(kInScratchpad, kIsI8 | kIsI16),
      {Presence::kWithoutFlag, kScalar, kInScratchpad, kIsI32, Extent::kParameters3, false, true,
       0, false},
      kNothing}},
    {0,
     {source(kInScratchpad, kIsI8 | kIsI16),
      {Presence::kAlways, 0, kInScratchpad, kIsI8 | kIsI16, Extent::kTile, false, true, 0,
       true},
      target(kInScratchpad, kIsI8 | kIsI16), kNothing}},
    {0,
     {source(kInScratchpad, kIsI16), target(kInScratchpad, kIsI8 | kIsI16),
      source(kInScratchpad, kIsI32, Extent::kParameters2),
      source(kInScratchpad, kIsI32, Extent::kTable)}},
    {kUncentered,
     {source(kInScratchpad, kIsI16), target(kInScratchpad, kIsI8 | kIsI16),
      source(kInScratchpad, kIsI32, Extent::kNormParameters), kNothing}},
    {kMasked | kCausal,
     {source(kInAccumulator, kIsI32), target(kInScratchpad, kIsI16),
      updated(kInScratchpad, kIsI16, Extent::kPairPerRow),
      {Presence::kWithFlag, kMasked, kInScratchpad, kIsI8, Extent::kTile, false, true, 0,
       true}}},
    {0,
     {source(kInScratchpad, kIsI16), target(kInScratchpad, kIsU8),
      source(kInScratchpad, kIsI16, Extent::kPairPerRow),
      target(kInScratchpad, kIsI32, Extent::kPairPerRow)}},
    {0,
     {source(kOnChip, kIsI32), target(kInScratchpad, kIsI8),
      source(kInScratchpad, kIsI32, Extent::kPerRow), kNothing}},
    {0,
     {source(kInScratchpad, kIsI8 | kIsI16),
      {Presence::kAlways, 0, kInScratchpad, kIsI8 | kIsI16, Extent::kTile, false, true, 0,
       true},
      target(kInScratchpad, kIsI8 | kIsI16), kNothing}},
    {0,
     {source(kInAccumulator, kIsI32), updated(kInScratchpad, kIsI32, Extent::kTotalled),
      source(kInScratchpad, kIsI32, Extent::kPairPerRow), kNothing}},
};

class Validator {
 public:
  Validator(std::uint32_t index, Step& step, const Header& header)
      : index_(index), step_(step), instruction_(step.instruction), header_(header) {}

  void run() {
    check_fields();
    if (instruction_.engine == kEngineNone) return;
    for (int number = 0; number < kOperandCount; ++number) check_operand(number);
    check_immediates();
  }

 private:
  [[noreturn]] void refuse(const std::string& message) const {
    throw ProgramError(index_, place(index_, instruction_) + message);
  }

  void check_fields() const {
    const std::uint8_t opcode = instruction_.opcode;
    if (instruction_.engine != engine_of(opcode)) {
      refuse("expected engine " + std::to_string(engine_of(opcode)) + ", found " +
             std::to_string(instruction_.engine));
    }
    if (instruction_.reserved != 0) refuse("expected zero in the reserved field");
    const unsigned unknown = instruction_.flags & ~unsigned{kRules[opcode].flags};
    if (unknown != 0) refuse("it has no flag " + hexadecimal(unknown));
    const bool control = instruction_.engine == kEngineNone;
    for (int engine = 0; engine < kEngineCount; ++engine) {
      if ((control || engine == instruction_.engine) && instruction_.wait[engine] != kNoWait) {
        refuse(std::string("it can not wait for engine ") +
               engine_name(static_cast<std::uint8_t>(engine)));
      }
    }
    if (opcode != kMatmul && instruction_.depth != 0) refuse("expected no depth");
    if (control) {
      if (instruction_.columns != 0 || (opcode == kEnd && instruction_.rows != 0)) {
        refuse("expected no rows and columns");
      }
      for (int number = 0; number < kOperandCount; ++number) check_unused(number);
      for (int number = 0; number < 8; ++number) expect_zero(number);
      return;
    }
    if (instruction_.rows == 0 || instruction_.columns == 0 ||
        (opcode == kMatmul && instruction_.depth == 0)) {
      refuse("expected rows, columns and depth of at least 1, found " +
             std::to_string(instruction_.rows) + " x " + std::to_string(instruction_.columns) +
             (opcode == kMatmul ? " x " + std::to_string(instruction_.depth) : ""));
    }
    if (opcode == kDmaIn && (instruction_.flags & kUnpack) && instruction_.columns % kGroup != 0) {
      refuse("it unpacks groups of " + std::to_string(kGroup) + " columns, found " +
             std::to_string(instruction_.columns));
    }
    if (opcode == kLayerNorm && instruction_.columns > 65536) {
      refuse("expected at most 65536 columns, found " + std::to_string(instruction_.columns));
    }
  }

  std::string letter(int number) const {
    return std::string("operand ") + static_cast<char>('a' + number);
  }

  void check_unused(int number) const {
    const Operand& operand = instruction_.operands[number];
    bool zero = operand.base == 0 && operand.pitch == 0 && operand.slot_bytes == 0 &&
                operand.space == 0 && operand.dtype == 0 && operand.slots == 0 &&
                operand.phase == 0;
    for (int level = 0; level < kLoopDepth; ++level) {
      zero = zero && operand.stride[level] == 0 && operand.ring[level] == 0;
    }
    if (!zero) refuse("expected no " + letter(number));
  }

  void check_operand(int number) {
    const Rule& rule = kRules[instruction_.opcode].operands[number];
    const Operand& operand = instruction_.operands[number];
    const bool flag = (instruction_.flags & rule.flag) != 0;
    if (rule.presence == Presence::kNever ||
        (rule.presence == Presence::kWithFlag && !flag) ||
        (rule.presence == Presence::kWithoutFlag && flag)) {
      check_unused(number);
      return;
    }
    if (operand.slots == 0) refuse("expected " + letter(number) + ", with at least 1 slot");
    if (operand.space >= kSpaceCount || (rule.spaces & (1u << operand.space)) == 0) {
      refuse(letter(number) + " can not lie in " + space_name(operand.space));
    }
    if (operand.dtype >= kDTypeCount || (rule.dtypes & (1u << operand.dtype)) == 0 ||
        (operand.space == kAccumulator && operand.dtype != kI32)) {
      refuse(letter(number) + " can not be " + dtype_name(operand.dtype) + " in " +
             space_name(operand.space));
    }
    for (int level = static_cast<int>(step_.loop_depth); level < kLoopDepth; ++level) {
      if (operand.stride[level] != 0 || operand.ring[level] != 0) {
        refuse(letter(number) + " moves with loop level " + std::to_string(level) +
               ", which is not open here");
      }
    }
    fill_shape(number, rule, operand);
  }

  void fill_shape(int number, const Rule& rule, const Operand& operand) {
    Shape& shape = step_.shapes[number];
    std::uint64_t rows = instruction_.rows;
    std::uint64_t columns = instruction_.columns;
    switch (rule.extent) {
      case Extent::kTile:
      case Extent::kTileBytes:
        break;
      case Extent::kMaybePacked:
        if (instruction_.flags & kUnpack) columns = columns / kGroup * kPackedGroupBytes;
        break;
      case Extent::kMatrixA:
        columns = instruction_.depth;
        break;
      case Extent::kMatrixB:
        rows = instruction_.flags & kTransposed ? instruction_.columns : instruction_.depth;
        columns = instruction_.flags & kTransposed ? instruction_.depth : instruction_.columns;
        break;
      case Extent::kParameters3:
        if (instruction_.flags & kRowParameters) {
          columns = 3;
        } else {
          rows = 3;
        }
        break;
      case Extent::kParameters2:
        rows = 2;
        break;
      case Extent::kNormParameters:
        rows = instruction_.flags & kUncentered ? 1 : 2;
        break;
      case Extent::kTable:
        rows = 1;
        columns = kGeluTableEntries;
        break;
      case Extent::kPerRow:
        columns = 1;
        break;
      case Extent::kPairPerRow:
        columns = 2;
        break;
      case Extent::kTotalled:
        columns += 1;
        break;
      case Extent::kIndex:
        rows = 1;
        columns = 1;
        break;
    }
    // A transfer moves bytes: its dtype says nothing about alignment.
    const bool moved = rule.extent == Extent::kTileBytes || rule.extent == Extent::kMaybePacked;
    const std::uint32_t element = moved ? 1 : dtype_bytes(operand.dtype);
    shape.used = true;
    shape.writes = rule.writes;
    shape.reads = rule.reads || (instruction_.flags & rule.reads_with_flag) != 0;
    shape.space = operand.space;
    shape.element_bytes = static_cast<std::uint8_t>(element);
    shape.rows = rows;
    shape.row_bytes = columns * element;
    shape.pitch = rows > 1 ? operand.pitch : shape.row_bytes;
    if (rule.broadcast && operand.pitch == 0) shape.rows = 1;
    if (shape.rows == 1) shape.pitch = rule.broadcast && operand.pitch == 0 ? 0 : shape.row_bytes;
    check_alignment(number, operand, element, shape.rows);
    if (rule.writes && shape.rows > 1 && shape.pitch < shape.row_bytes) {
      refuse(letter(number) + " is written: expected a pitch of at least its row of " +
             std::to_string(shape.row_bytes) + " bytes, found " + std::to_string(shape.pitch));
    }
    // rows, pitch < 2^32 and row_bytes < 2^34: the sum stays below 2^64 only just, so test parts.
    const std::uint64_t span = (shape.rows - 1) * shape.pitch;
    const std::uint64_t capacity = space_bytes(operand.space);
    if (span > capacity || shape.row_bytes > capacity - span) {
      refuse(letter(number) + " spans " + std::to_string(shape.rows) + " rows of " +
             std::to_string(shape.row_bytes) + " bytes, " + std::to_string(shape.pitch) +
             " apart: more than the " + std::to_string(capacity) + " bytes of " +
             space_name(operand.space));
    }
    shape.extent = span + shape.row_bytes;
    if (operand.base > capacity) {
      refuse(letter(number) + " is out of range: address " + hexadecimal(operand.base) + ", but " +
             space_name(operand.space) + " has " + std::to_string(capacity) + " bytes");
    }
  }

  void check_alignment(int number, const Operand& operand, std::uint32_t element,
                       std::uint64_t rows) const {
    bool aligned = operand.base % element == 0 && (rows == 1 || operand.pitch % element == 0) &&
                   (operand.slots == 1 || operand.slot_bytes % element == 0);
    for (int level = 0; level < kLoopDepth; ++level) {
      aligned = aligned && operand.stride[level] % static_cast<std::int32_t>(element) == 0;
    }
    if (!aligned) {
      refuse(letter(number) + " is " + dtype_name(operand.dtype) +
             ": expected base, pitch, strides and slots in multiples of " +
             std::to_string(element) + " bytes, found base " + hexadecimal(operand.base) +
             ", pitch " + std::to_string(operand.pitch));
    }
  }

  std::uint64_t space_bytes(std::uint8_t space) const {
    switch (space) {
      case kDram:
        return header_.dram_bytes;
      case kScratchpad:
        return header_.scratchpad_bytes;
      default:
        return header_.accumulator_bytes;
    }
  }

  void expect_zero(int number) const { expect(number, 0, 0, "no immediate"); }

  void expect(int number, std::int64_t low, std::int64_t high, const char* meaning) const {
    const std::int64_t value = instruction_.immediates[number];
    if (value < low || value > high) {
      refuse("immediate " + std::to_string(number) + " (" + meaning + "): expected " +
             std::to_string(low) + " to " + std::to_string(high) + ", found " +
             std::to_string(value));
    }
  }

  void check_immediates() const {
    constexpr std::int64_t kLow32 = std::numeric_limits<std::int32_t>::min();
    constexpr std::int64_t kHigh32 = std::numeric_limits<std::int32_t>::max();
    int used = 0;
    switch (instruction_.opcode) {
      case kDmaIn:
      case kDmaOut:
        if (instruction_.flags & kIndexed) {
          expect(0, -(std::int64_t{1} << 31), std::int64_t{1} << 31, "bytes per index");
          expect(1, 1, kHigh32, "number of indices");
          used = 2;
        }
        break;
      case kFill: {
        const std::uint8_t dtype = instruction_.operands[0].dtype;
        const int bits = static_cast<int>(8 * dtype_bytes(dtype));
        const std::int64_t half = std::int64_t{1} << (bits - 1);
        if (dtype == kU8) {
          expect(0, 0, 255, "value");
        } else {
          expect(0, -half, half - 1, "value");
        }
        used = 1;
        break;
      }
      case kRescale:
        if ((instruction_.flags & kScalar) && (instruction_.flags & kRowParameters)) {
          refuse("flags scalar and per_row exclude each other");
        }
        if (instruction_.flags & kScalar) {
          expect(0, kLow32, kHigh32, "bias");
          expect(1, 0, kHigh32, "multiplier");
          expect(2, 1, 62, "shift");
          used = 3;
        }
        break;
      case kAdd:
        expect(0, 0, kHigh32, "multiplier of a");
        expect(1, 0, kHigh32, "multiplier of b");
        expect(2, 1, 62, "shift");
        used = 3;
        break;
      case kGelu:
        expect(0, 0, kHigh32, "index multiplier");
        expect(1, 1, 62, "index shift");
        expect(2, -128, 127, "offset");
        used = 3;
        break;
      case kLayerNorm:
        expect(0, 1, (std::int64_t{1} << 42) - 1, "epsilon");
        expect(1, 1, 62, "shift");
        used = 2;
        break;
      case kScores:
        expect(0, 0, kHigh32, "multiplier");
        expect(1, 1, 62, "shift");
        used = 2;
        if (instruction_.flags & kCausal) {
          expect(2, kLow32, kHigh32, "first query");
          expect(3, kLow32, kHigh32, "first key");
          used = 4;
        }
        break;
      case kNormalize:
      case kMultiply:
        expect(0, 0, kHigh32, "multiplier");
        expect(1, 1, 62, "shift");
        used = 2;
        break;
      default:
        break;
    }
    for (int number = used; number < 8; ++number) expect_zero(number);
  }

  std::uint32_t index_;
  Step& step_;
  const Instruction& instruction_;
  const Header& header_;
};

}  // namespace

void validate(std::uint32_t index, Step& step, const Header& header) {
  Validator(index, step, header).run();
}

}  // namespace girih
