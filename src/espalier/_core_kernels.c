/* One build of the hot loops per instruction set, and the choice between them at run time.
 *
 * Needs vector extensions, which GCC and Clang have; another compiler fails here, and the package
 * installs without its core.
 */
#include "_core.h"

#include <math.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL_4 _Pragma("GCC unroll 4")
#endif

enum { LANES = 16, SKIP = 32 };

typedef double Doubles __attribute__((vector_size(32)));
typedef float Floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(32), aligned(4), may_alias));

/* Four floats as doubles, and the larger of eight integers. The AVX forms compute the same in one
 * instruction, which GCC 12 misses. */
#define DOUBLES_PLAIN(address) __builtin_convertvector(*(const Floats *)(address), Doubles)
#define LARGER_PLAIN(a, b) (((a) & ((a) > (b))) | ((b) & ~((a) > (b))))
#define DOUBLES_AVX(address) ((Doubles)_mm256_cvtps_pd(_mm_loadu_ps(address)))
#define LARGER_AVX(a, b) ((Ints)_mm256_max_epi32((__m256i)(a), (__m256i)(b)))

/* The bits of |x|: they sort as the magnitudes do, NaN above infinity. */
static ALWAYS_INLINE uint32_t magnitude_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffffu;
}

#define VARIANT(name) name##_base
#define VARIANT_NAME "base"
#define DOUBLES DOUBLES_PLAIN
#define LARGER LARGER_PLAIN
#include "_core_loops.h"
#undef VARIANT
#undef VARIANT_NAME
#undef DOUBLES
#undef LARGER

#ifdef __x86_64__
#define DOUBLES DOUBLES_AVX
#define LARGER LARGER_AVX

#ifdef __clang__
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
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))),        \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#define VARIANT(name) name##_avx512
#define VARIANT_NAME "avx512"
#include "_core_loops.h"
#undef VARIANT
#undef VARIANT_NAME
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif /* __x86_64__ */

const Kernels *kernels_at(size_t index)
{
    const Kernels *known[3] = {NULL};
    size_t count = 0;

#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        known[count++] = &kernels_avx512;
    if (__builtin_cpu_supports("avx2"))
        known[count++] = &kernels_avx2;
#endif
    known[count++] = &kernels_base;
    return index < count ? known[index] : NULL;
}

static const Kernels *in_use;

const Kernels *kernels_in_use(void)
{
    return in_use;
}

void kernels_use(const Kernels *kernels)
{
    in_use = kernels;
}
