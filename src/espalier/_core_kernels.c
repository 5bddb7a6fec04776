/* One build of the hot loops per instruction set, and the choice between them at run time.
 *
 * Needs vector extensions, which GCC and Clang have; another compiler fails here, and the package
 * installs without its core.
 */
#include "_core.h"

#include <math.h>
#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL_4 _Pragma("GCC unroll 4")
#endif

enum { LANES = 16 };

typedef double Doubles __attribute__((vector_size(32)));
typedef float Floats __attribute__((vector_size(16), aligned(4), may_alias));
#define DOUBLES(address) __builtin_convertvector(*(const Floats *)(address), Doubles)

/* The bits of |x|: they sort as the magnitudes do, NaN above infinity. */
static ALWAYS_INLINE uint32_t magnitude_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffffu;
}

#define VARIANT(name) name##_base
#define VARIANT_NAME "base"
#include "_core_loops.h"
#undef VARIANT
#undef VARIANT_NAME

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAVE_VARIANTS 1

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define VARIANT(name) name##_avx2
#define VARIANT_NAME "avx2"
#include "_core_loops.h"
#undef VARIANT
#undef VARIANT_NAME
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512")
#endif
#define VARIANT(name) name##_avx512
#define VARIANT_NAME "avx512"
#include "_core_loops.h"
#undef VARIANT
#undef VARIANT_NAME
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

const Kernels *kernels_at(size_t index)
{
    const Kernels *known[3] = {NULL};
    size_t count = 0;

#ifdef HAVE_VARIANTS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        known[count++] = &kernels_avx512;
    if (__builtin_cpu_supports("avx2"))
        known[count++] = &kernels_avx2;
#endif
    known[count++] = &kernels_base;
    return index < count ? known[index] : NULL;
}
