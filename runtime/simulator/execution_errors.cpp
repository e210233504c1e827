// What the user reads when an execution is refused.

#include <algorithm>

#include "errors.hpp"
#include "execution.hpp"

namespace girih {

void Execution::refuse(const std::string& message) const {
  const Step& step = program_.steps()[index_];
  std::string text = "instruction " + std::to_string(index_) + " (" +
                     opcode_name(step.instruction.opcode) + " on engine " +
                     engine_name(step.instruction.engine);
  for (std::uint32_t level = 0; level < step.loop_depth; ++level) {
    text += (level == 0 ? ", iteration " : ",") + std::to_string(iterations_[level]);
  }
  throw ProgramError(index_, text + "): " + message);
}

std::string Execution::operand_text(int number) const {
  return std::string("operand ") + static_cast<char>('a' + number);
}

void Execution::refuse_range(const Step& step, int number, std::int64_t address) const {
  const Shape& shape = step.shapes[number];
  const std::string begin = address < 0 ? "-" + hexadecimal(static_cast<std::uint64_t>(-address))
                                        : hexadecimal(static_cast<std::uint64_t>(address));
  refuse(operand_text(number) + " is out of range: " + std::to_string(shape.extent) +
         " bytes from address " + begin + " of " + space_name(shape.space) + ", which has " +
         std::to_string(machine_.memories_[shape.space].bytes()) + " bytes");
}

// Finds the first line of the region that engine `other` touched too late, and says by which
// instruction.
void Execution::refuse_hazard(int number, const Region& region, const LineClocks& clocks,
                              int other, bool writes, bool other_wrote) const {
  const Step& step = program_.steps()[index_];
  const std::uint32_t known = now_[step.instruction.engine].seen[other];
  for (std::uint64_t row = 0; row < region.rows; ++row) {
    const std::uint64_t begin = region.address + row * region.pitch;
    const std::uint64_t last = (begin + region.row_bytes - 1) >> kLineShift;
    for (std::uint64_t line = begin >> kLineShift; line <= last; ++line) {
      const std::uint32_t clock = std::max(clocks.lines[line], clocks.whole[line >> kBlockShift]);
      if (clock <= known) continue;
      const std::uint32_t culprit = issued_index_[other][clock - first_clock_[other]];
      const std::string name = opcode_name(program_.steps()[culprit].instruction.opcode);
      refuse(std::string("hazard: operand ") + static_cast<char>('a' + number) +
             (writes ? " writes " : " reads ") + space_name(step.shapes[number].space) +
             " at address " + hexadecimal(line << kLineShift) + ", which instruction " +
             std::to_string(culprit) + " (" + name + " on engine " +
             engine_name(static_cast<std::uint8_t>(other)) + ") " +
             (other_wrote ? "wrote" : "read") +
             ", and no wait orders the two; wait for engine " +
             engine_name(static_cast<std::uint8_t>(other)));
    }
  }
  refuse("hazard in operand " + operand_text(number));
}

}  // namespace girih
