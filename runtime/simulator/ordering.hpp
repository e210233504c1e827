// How long each instruction must wait for the other engines: docs/isa.md, Order.
#pragma once

#include <cstdint>
#include <vector>

#include "program.hpp"

namespace girih {

// Wait distances of every instruction, kEngineCount each, kNoWait where there is nothing to wait
// for. Those in the program are not looked at.
//
// The program is stepped through. What an instruction of one engine needs of another is a distance,
// counted back in that engine's instructions; of all iterations of a loop the shortest counts. So a
// wait orders too much at worst, never too little.
std::vector<std::uint16_t> wait_distances(const Program& program);

}  // namespace girih
