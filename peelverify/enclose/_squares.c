/* Sums of squares of float32 numbers in float64, block by block: the optional compiled routine of frobenius.py.

   What it computes is inside what the theorems cover, whatever the compiler makes of it:

   - the product of two float32 numbers is exact in float64 (`PeelVerify.float32_mul_exact`), so it does not matter
     whether a multiplication and an addition are fused;
   - each addition is rounded once, and a sum of n terms in any order has fewer than n roundings on the way from a
     term to the sum (`PeelVerify.RoundTree.depth_lt_of_sumOfExact`, `PeelVerify.computes_error`);
   - the zeros that lanes start with and that fill up a short rest are added without rounding, so they count as
     nothing: a block of n entries stays a sum of n terms, also where n is below the number of lanes;
   - sums of float64 numbers do not underflow, and squares of finite float32 numbers are too small to overflow.
     Infinity and NaN come through as infinity or NaN.

   Both versions below give entry i to lane i mod LANES and fold the lanes in one order: they agree to the last bit.
   What the compiled file really does is probed when it is loaded (compiled.py). */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <string.h>

#if FLT_EVAL_METHOD < 0 || FLT_EVAL_METHOD == 2
#error "float64 is rounded in two steps here; sums would have more roundings than the theorem counts"
#endif

#define LANES 32
#define SIZE ((Py_ssize_t)sizeof(float))
#define RELEASE (1 << 15) /* from so many entries on other Python threads may run meanwhile */

/* Not with GCC on Windows, which misplaces wide vectors on the stack. */
#if !defined(PEELVERIFY_PLAIN) && defined(__GNUC__) && defined(__x86_64__) && !defined(_WIN32)
#define HAVE_AVX2
#include <immintrin.h>
#endif

typedef double (*block_sum)(const char *at, Py_ssize_t count);

/* The last entries of a block, fewer than LANES, filled up with zeros. */
static inline void fill(float *rest, const char *at, Py_ssize_t count)
{
    memset(rest, 0, LANES * sizeof(float));
    memcpy(rest, at, (size_t)count * sizeof(float));
}

static inline double fold(double *lane)
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++)
            lane[k] += lane[k + half];
    return lane[0];
}

static inline void add_plain(double *lane, const char *at)
{
    float part[LANES];
    memcpy(part, at, sizeof part); /* numbers may lie at any address */
    for (int k = 0; k < LANES; k++)
        lane[k] += (double)part[k] * (double)part[k];
}

static double sum_plain(const char *at, Py_ssize_t count)
{
    double lane[LANES] = {0.0};
    float rest[LANES];
    Py_ssize_t i = 0;
    for (; count - i >= LANES; i += LANES)
        add_plain(lane, at + i * SIZE);
    if (i < count) {
        fill(rest, at + i * SIZE, count - i);
        add_plain(lane, (const char *)rest);
    }
    return fold(lane);
}

#ifdef HAVE_AVX2
/* Written out because compilers turn the loop above into something five times as slow. */
__attribute__((target("avx2,fma"), always_inline)) static inline void add_avx2(__m256d *lane, const char *at)
{
    for (int k = 0; k < LANES / 4; k++) {
        __m256d x = _mm256_cvtps_pd(_mm_loadu_ps((const float *)(at + 4 * k * SIZE)));
        lane[k] = _mm256_fmadd_pd(x, x, lane[k]);
    }
}

__attribute__((target("avx2,fma"))) static double sum_avx2(const char *at, Py_ssize_t count)
{
    __m256d lane[LANES / 4];
    double all[LANES];
    float rest[LANES];
    Py_ssize_t i = 0;
    for (int k = 0; k < LANES / 4; k++)
        lane[k] = _mm256_setzero_pd();
    for (; count - i >= LANES; i += LANES)
        add_avx2(lane, at + i * SIZE);
    if (i < count) {
        fill(rest, at + i * SIZE, count - i);
        add_avx2(lane, (const char *)rest);
    }
    for (int k = 0; k < LANES / 4; k++)
        _mm256_storeu_pd(all + 4 * k, lane[k]);
    return fold(all);
}
#endif

static block_sum best(void)
{
#ifdef HAVE_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return sum_avx2;
#endif
    return sum_plain;
}

static void sum_blocks(const char *at, Py_ssize_t count, Py_ssize_t block, double *sums)
{
    block_sum sum = best();
    for (; count > 0; count -= block, at += block * SIZE)
        *sums++ = sum(at, count < block ? count : block);
}

/* Whether numbers of the buffer are float32 in the byte order of this machine. */
static int is_float32(const Py_buffer *view)
{
    const int one = 1;
    const char order = *(const char *)&one ? '<' : '>';
    const char *format = view->format;
    if (format == NULL || view->itemsize != SIZE)
        return 0;
    if (*format == '@' || *format == '=' || *format == order)
        format++;
    return strcmp(format, "f") == 0;
}

static PyObject *sums_of(const Py_buffer *view, Py_ssize_t block)
{
    Py_ssize_t count = view->len / SIZE, parts;
    double *sums;
    if (block > count)
        block = count > 0 ? count : 1;
    parts = count / block + (count % block != 0);
    sums = PyMem_Malloc((size_t)(parts + 1) * sizeof(double));
    if (sums == NULL)
        return PyErr_NoMemory();
    if (count < RELEASE) {
        sum_blocks(view->buf, count, block, sums);
    } else {
        Py_BEGIN_ALLOW_THREADS
        sum_blocks(view->buf, count, block, sums);
        Py_END_ALLOW_THREADS
    }
    PyObject *found = PyList_New(parts);
    for (Py_ssize_t i = 0; found != NULL && i < parts; i++) {
        PyObject *sum = PyFloat_FromDouble(sums[i]);
        if (sum == NULL || PyList_SetItem(found, i, sum) < 0)
            Py_CLEAR(found);
    }
    PyMem_Free(sums);
    return found;
}

static PyObject *sums_of_squares(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer view;
    Py_ssize_t block;
    (void)module;
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "sums_of_squares needs an array and a block size, got %zd arguments", count);
        return NULL;
    }
    block = PyLong_AsSsize_t(arguments[1]);
    if (block == -1 && PyErr_Occurred())
        return NULL;
    if (block < 1) {
        PyErr_Format(PyExc_ValueError, "sums_of_squares needs blocks of at least 1 entry, got %zd", block);
        return NULL;
    }
    if (PyObject_GetBuffer(arguments[0], &view, PyBUF_ANY_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return NULL;
    PyObject *found = NULL;
    if (is_float32(&view))
        found = sums_of(&view, block);
    else
        PyErr_Format(PyExc_ValueError, "sums_of_squares needs float32 in the byte order of this machine, got format %s",
                     view.format ? view.format : "unknown");
    PyBuffer_Release(&view);
    return found;
}

static PyMethodDef methods[] = {
    {"sums_of_squares", (PyCFunction)(void (*)(void))sums_of_squares, METH_FASTCALL,
     "sums_of_squares(array, block) -> list of float\n\n"
     "Float64 sums of squares over blocks of so many entries, the last one shorter. The array is contiguous float32."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_squares",
    .m_doc = "Sums of squares of float32 arrays in float64.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__squares(void)
{
    return PyModuleDef_Init(&definition);
}
