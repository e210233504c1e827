// The tools themselves: a check that holds passes, and one that does not is seen to fail.
// RUN: filecheck --input-file %s %s
// RUN: not filecheck --input-file %s --check-prefix WRONG %s

// CHECK: module
// CHECK-NEXT: }
// WRONG: no such {{(line)}}
module {
}
