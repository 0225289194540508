// L1 simd: what the ways of AVX-512 to count bits have in common; bits_ref.h says what the names mean.
#pragma once
#include "simd/int_avx512.h"

namespace fastconv {
namespace {

inline uint32_t vlanes_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline uint32_t vlanes_nan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
inline vi vixor(vi a, vi b) { return _mm512_xor_si512(a, b); }

}  // namespace
}  // namespace fastconv
