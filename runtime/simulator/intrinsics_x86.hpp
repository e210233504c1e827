// <immintrin.h> without the warnings that GCC 12 gives about its own header (GCC bug 105593: the
// "undefined" vectors of _mm512_undefined_epi32 are meant to be so). They are reported where the
// functions are inlined, so the pragmas hold to the end of the file that includes this.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>
