// The error that refuses a program.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace girih {

class ProgramError : public std::runtime_error {
 public:
  // `instruction` is the index of the guilty instruction, or -1 when it is the file as a whole.
  ProgramError(std::int64_t instruction, const std::string& message)
      : std::runtime_error(message), instruction_(instruction) {}

  std::int64_t instruction() const { return instruction_; }

 private:
  std::int64_t instruction_;
};

std::string hexadecimal(std::uint64_t value);

}  // namespace girih
