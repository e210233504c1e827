// The part of an execution that looks at data: initialization, order, and the work itself.

#include <algorithm>
#include <cstring>

#include "errors.hpp"
#include "execution.hpp"

namespace girih {

namespace {

// Groups of a scale and 32 nibbles --> 32 bytes each: nibble x scale, saturated (docs/numerics.md).
void unpack(const std::uint8_t* source, std::uint8_t* target, std::uint64_t groups) {
  constexpr int kHalf = kGroup / 2;
  for (std::uint64_t group = 0; group < groups; ++group) {
    const int scale = static_cast<std::int8_t>(source[0]);
    for (int number = 0; number < kHalf; ++number) {
      const int both = static_cast<std::int8_t>(source[1 + number]);
      const int low = static_cast<std::int8_t>(both << 4) >> 4;
      target[number] = static_cast<std::uint8_t>(std::clamp(low * scale, -128, 127));
      target[kHalf + number] = static_cast<std::uint8_t>(std::clamp((both >> 4) * scale, -128, 127));
    }
    source += kPackedGroupBytes;
    target += kGroup;
  }
}

// The geometry of an operand: what decides whether two overlap.
struct Area {
  std::uint8_t space;
  std::uint8_t element_bytes;
  Region region;
};

bool same(const Area& left, const Area& right) {
  const bool same_pitch = left.region.rows == 1 || left.region.pitch == right.region.pitch;
  return left.region.address == right.region.address && same_pitch &&
         left.region.rows == right.region.rows && left.region.row_bytes == right.region.row_bytes &&
         left.element_bytes == right.element_bytes;
}

bool overlap(const Region& left, const Region& right) {
  const std::uint64_t left_end = left.address + (left.rows - 1) * left.pitch + left.row_bytes;
  const std::uint64_t right_end = right.address + (right.rows - 1) * right.pitch + right.row_bytes;
  if (left_end <= right.address || right_end <= left.address) return false;
  // Columns of one buffer side by side: rows of the same pitch that never meet.
  const std::uint64_t pitch = left.rows > 1 ? left.pitch : right.pitch;
  if (pitch == 0 || (right.rows > 1 && right.pitch != pitch)) return true;
  const std::uint64_t offset = (right.address % pitch + pitch - left.address % pitch) % pitch;
  return offset < left.row_bytes || offset + right.row_bytes > pitch;
}

}  // namespace

Region Execution::region(const Step& step, int number) const {
  const Shape& shape = step.shapes[number];
  return {addresses_[number], shape.pitch, shape.rows, shape.row_bytes};
}

std::uint8_t* Execution::pointer(const Step& step, int number) const {
  return machine_.memories_[step.shapes[number].space].data() + addresses_[number];
}

void Execution::check_accesses(const Step& step) {
  if (step.instruction.flags & kIndexed && step.instruction.engine <= kEngineDmaOut) {
    check_read(step, 2, region(step, 2), machine_.memories_[kDram]);
    const int moved = step.instruction.opcode == kDmaIn ? 0 : 1;
    addresses_[moved] += resolve_index(step);
  }
  for (int number = 0; number < kOperandCount; ++number) {
    const Shape& shape = step.shapes[number];
    if (!shape.used) continue;
    Memory& memory = machine_.memories_[shape.space];
    const Region touched = region(step, number);
    if (shape.reads) check_read(step, number, touched, memory);
    if (shape.writes) check_write(number, touched, memory);
  }
  check_overlap(step);
  check_parameters(step);
}

void Execution::check_read(const Step& step, int number, const Region& region, Memory& memory) {
  const int engine = step.instruction.engine;
  for (int other = 0; other < kEngineCount; ++other) {
    const LineClocks writes = memory.writes(other);
    if (writes.lines == nullptr || other == engine) continue;
    const std::uint32_t last =
        kernels_.latest(writes, region.address, region.pitch, region.rows, region.row_bytes);
    if (last > now_[engine].seen[other]) {
      refuse_hazard(number, region, writes, other, false, true);
    }
    if (step.instruction.opcode == kMatmul && number == 1) {
      written_[other == kEngineDmaIn ? 0 : 1] = last;
    }
  }
  const std::uint64_t missing = memory.first_uninitialized(region);
  if (missing != Memory::kNone) {
    refuse(operand_text(number) + " reads " + space_name(step.shapes[number].space) +
           " at address " + hexadecimal(missing) + ", which nothing has written");
  }
}

void Execution::check_write(int number, const Region& region, Memory& memory) {
  const int engine = program_.steps()[index_].instruction.engine;
  for (int other = 0; other < kEngineCount; ++other) {
    if (other == engine) continue;
    for (const bool wrote : {true, false}) {
      const LineClocks clocks = wrote ? memory.writes(other) : memory.reads(other);
      if (clocks.lines == nullptr) continue;
      const std::uint32_t last =
          kernels_.latest(clocks, region.address, region.pitch, region.rows, region.row_bytes);
      if (last > now_[engine].seen[other]) {
        refuse_hazard(number, region, clocks, other, true, wrote);
      }
    }
  }
}

// A target may be a source element for element, and must otherwise lie apart from all other
// operands: the order in which elements are done is nobody's business.
void Execution::check_overlap(const Step& step) const {
  for (int target = 0; target < kOperandCount; ++target) {
    const Shape& target_shape = step.shapes[target];
    if (!target_shape.used || !target_shape.writes) continue;
    const Area left{target_shape.space, target_shape.element_bytes, region(step, target)};
    for (int number = 0; number < kOperandCount; ++number) {
      const Shape& shape = step.shapes[number];
      if (number == target || !shape.used || shape.space != left.space) continue;
      const Area right{shape.space, shape.element_bytes, region(step, number)};
      if (!overlap(left.region, right.region)) continue;
      const bool elementwise = !shape.writes && step.instruction.engine == kEngineVector &&
                               (number == 0 || (number == 1 && (step.instruction.opcode == kAdd ||
                                                step.instruction.opcode == kMultiply)));
      if (elementwise && target_shape.rows == shape.rows && same(left, right)) continue;
      refuse(operand_text(target) + " at address " + hexadecimal(left.region.address) +
             " overlaps " + operand_text(number) + " at address " +
             hexadecimal(right.region.address) + " in " + space_name(left.space));
    }
  }
}

void Execution::record_accesses(const Step& step) {
  const int engine = step.instruction.engine;
  for (int number = 0; number < kOperandCount; ++number) {
    const Shape& shape = step.shapes[number];
    if (!shape.used) continue;
    Memory& memory = machine_.memories_[shape.space];
    const Region touched = region(step, number);
    const auto stamp = [&](const LineClocks& clocks) {
      if (clocks.lines == nullptr) return;
      kernels_.stamp(clocks, touched.address, touched.pitch, touched.rows, touched.row_bytes,
                     own_clock_);
    };
    if (shape.reads) stamp(memory.reads(engine));
    if (shape.writes) {
      stamp(memory.writes(engine));
      memory.mark_initialized(touched);
    }
  }
}

// Reads the index of a transfer; the bytes that it moves the address by.
std::uint64_t Execution::resolve_index(const Step& step) {
  std::int32_t index;
  std::memcpy(&index, pointer(step, 2), sizeof index);
  const std::int64_t count = step.instruction.immediates[1];
  if (index < 0 || index >= count) {
    refuse("operand c at address " + hexadecimal(addresses_[2]) + " of dram holds the index " +
           std::to_string(index) + ", expected 0 to " + std::to_string(count - 1));
  }
  // May be negative: the sum with the address is taken modulo 2^64, and locate() saw it is in range.
  return static_cast<std::uint64_t>(index * step.instruction.immediates[0]);
}

// Multipliers and shifts that come as data.
void Execution::check_parameters(const Step& step) const {
  const Instruction& instruction = step.instruction;
  const bool rescales = instruction.opcode == kRescale && !(instruction.flags & kScalar);
  if (!rescales && instruction.opcode != kGelu) return;
  if (rescales && (instruction.flags & kRowParameters)) {
    for (std::uint64_t row = 0; row < instruction.rows; ++row) {
      std::int32_t scale[3];
      std::memcpy(scale, pointer(step, 2) + row * step.shapes[2].pitch, sizeof scale);
      if (scale[1] >= 0 && scale[2] >= 1 && scale[2] <= 62) continue;
      refuse("operand c holds multiplier " + std::to_string(scale[1]) + " and shift " +
             std::to_string(scale[2]) + " for row " + std::to_string(row) +
             ", expected a multiplier of at least 0 and a shift of 1 to 62");
    }
    return;
  }
  const std::uint64_t pitch = step.shapes[2].pitch;
  const std::uint8_t* multipliers = pointer(step, 2) + (rescales ? pitch : 0);
  const std::uint8_t* shifts = multipliers + pitch;
  const std::uint64_t column =
      kernels_.find_bad_scale(multipliers, shifts, instruction.columns);
  if (column == instruction.columns) return;
  std::int32_t multiplier;
  std::int32_t shift;
  std::memcpy(&multiplier, multipliers + 4 * column, 4);
  std::memcpy(&shift, shifts + 4 * column, 4);
  refuse("operand c holds multiplier " + std::to_string(multiplier) + " and shift " +
         std::to_string(shift) + " for column " + std::to_string(column) +
         ", expected a multiplier of at least 0 and a shift of 1 to 62");
}

void Execution::compute(const Step& step) {
  switch (step.instruction.opcode) {
    case kDmaIn:
    case kDmaOut:
      transfer(step);
      break;
    case kFill:
      fill(step);
      break;
    case kMatmul:
      multiply(step);
      break;
    default:
      compute_vector(step);
  }
}

void Execution::transfer(const Step& step) {
  const Shape& from = step.shapes[0];
  const Shape& to = step.shapes[1];
  const std::uint8_t* source = pointer(step, 0);
  std::uint8_t* target = pointer(step, 1);
  if (step.instruction.opcode == kDmaIn && (step.instruction.flags & kUnpack)) {
    for (std::uint64_t row = 0; row < from.rows; ++row) {
      unpack(source + row * from.pitch, target + row * to.pitch, to.row_bytes / kGroup);
    }
    return;
  }
  if (from.pitch == from.row_bytes && to.pitch == to.row_bytes) {
    std::memcpy(target, source, from.rows * from.row_bytes);
    return;
  }
  for (std::uint64_t row = 0; row < from.rows; ++row) {
    std::memcpy(target + row * to.pitch, source + row * from.pitch, from.row_bytes);
  }
}

void Execution::fill(const Step& step) {
  const Shape& shape = step.shapes[0];
  const auto value = static_cast<std::uint64_t>(step.instruction.immediates[0]);
  std::uint8_t* row = pointer(step, 0);
  std::uint8_t bytes[8];
  std::memcpy(bytes, &value, sizeof bytes);
  for (std::uint64_t at = 0; at < shape.row_bytes; at += shape.element_bytes) {
    std::memcpy(row + at, bytes, shape.element_bytes);
  }
  for (std::uint64_t number = 1; number < shape.rows; ++number) {
    std::memcpy(row + number * shape.pitch, row, shape.row_bytes);
  }
}

void Execution::multiply(const Step& step) {
  const Instruction& instruction = step.instruction;
  MatmulTask task{};
  task.a = pointer(step, 0);
  task.a_pitch = step.shapes[0].pitch;
  task.a_signed = instruction.operands[0].dtype == kI8;
  task.c = pointer(step, 2);
  task.c_pitch = step.shapes[2].pitch;
  task.rows = instruction.rows;
  task.columns = instruction.columns;
  task.depth = instruction.depth;
  task.accumulate = (instruction.flags & kMatmulAccumulate) != 0;
  const PackKey key{addresses_[1],
                    step.shapes[1].pitch,
                    task.columns,
                    task.depth,
                    (instruction.flags & kTransposed) != 0,
                    {written_[0], written_[1]}};
  machine_.multiplier_.run(kernels_, machine_.threads_, task, pointer(step, 1), key);
}

// Each row as a tile of its own, with its parameters as immediates.
void Execution::rescale_rows(VectorTask task) {
  const std::uint64_t rows = task.rows;
  task.rows = 1;
  task.per_column = false;
  for (std::uint64_t row = 0; row < rows; ++row) {
    std::int32_t scale[3];
    std::memcpy(scale, task.c.data, sizeof scale);
    std::copy_n(scale, 3, task.immediates);
    kernels_.rescale(task);
    task.a.data += task.a.pitch;
    task.b.data += task.b.pitch;
    task.c.data += task.c.pitch;
  }
}

void Execution::compute_vector(const Step& step) {
  const Instruction& instruction = step.instruction;
  VectorTask task{};
  task.rows = instruction.rows;
  task.columns = instruction.columns;
  Rows* const operands[kOperandCount] = {&task.a, &task.b, &task.c, &task.d};
  for (int number = 0; number < kOperandCount; ++number) {
    const Shape& shape = step.shapes[number];
    if (!shape.used) continue;
    *operands[number] = {pointer(step, number), shape.pitch, shape.element_bytes};
  }
  std::copy_n(instruction.immediates, 8, task.immediates);
  switch (instruction.opcode) {
    case kRescale:
      if (instruction.flags & kRowParameters) {
        rescale_rows(task);
        break;
      }
      task.per_column = (instruction.flags & kScalar) == 0;
      kernels_.rescale(task);
      break;
    case kAdd:
      kernels_.add(task);
      break;
    case kGelu:
      kernels_.gelu(task);
      break;
    case kMultiply:
      kernels_.multiply_elements(task);
      break;
    case kLayerNorm:
      task.uncentered = (instruction.flags & kUncentered) != 0;
      kernels_.layer_norm(task);
      break;
    case kScores:
      task.masked = (instruction.flags & kMasked) != 0;
      task.causal = (instruction.flags & kCausal) != 0;
      kernels_.scores(task);
      break;
    case kExponential:
      kernels_.exponential(task);
      break;
    case kFold:
      kernels_.fold(task);
      break;
    default:
      kernels_.normalize(task);
  }
}

}  // namespace girih
