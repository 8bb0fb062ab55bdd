"""A rule's operations, written as a loop in C."""

from math import isinf, isnan
from string import Template

import torch

from scratchopt.engine.operations import OPERATIONS
from scratchopt.engine.program import Program

# By what is stored: its type in C, the type of the arithmetic, and the ways between them.
DTYPES = {
    torch.float32: ("float", "float", "{}", "{}"),
    torch.float64: ("double", "double", "{}", "{}"),
    torch.bfloat16: ("uint16_t", "float", "from_bfloat16({})", "to_bfloat16({})"),
    torch.float16: ("_Float16", "float", "{}", "{}"),
}
_WIDE = DTYPES | {torch.float32: ("float", "double", "{}", "{}")}

_SOURCE = """
#include <omp.h>
#include <stdint.h>
#include <tgmath.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef $STORED stored;
typedef $NUMBER number;

static inline float from_bfloat16(uint16_t b) {
    union { uint32_t bits; float value; } u = {(uint32_t)b << 16};
    return u.value;
}

static inline uint16_t to_bfloat16(float value) {  // to nearest, ties to even
    union { float value; uint32_t bits; } u = {value};
    return value != value ? 0x7fc0 : (u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16;
}

static inline __attribute__((always_inline))
void update($POINTERS, const double *factors, int64_t length) {
$FACTORS
    for (int64_t i = 0; i < length; i++) {
$BODY
    }
}

__attribute__((noinline))
static void rule($POINTERS, const double *factors, int64_t length, int large) {$STREAM
    update($NAMES, factors, length);
}

// tensors: the addresses, column after column. The threads share the elements of a large tensor as
// torch's do, which have the same part of it in their caches; a small one is one thread's.
void run(int64_t count, const int64_t *sizes, stored **tensors, const double *factors, int share) {
    int64_t total = 0;
    for (int64_t j = 0; j < count; j++) total += sizes[j];
    int large = total * $COLUMNS * sizeof(stored) > 3 << 23;  // bytes: not for caches
    #pragma omp parallel num_threads(share) if(total >= 32768)
    {
        int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
        for (int64_t j = 0; j < count; j++) {
            int small = sizes[j] < 8192 * threads, mine = j * threads / count == thread;
            int64_t from = small ? 0 : sizes[j] * thread / threads;
            int64_t to = small ? mine * sizes[j] : sizes[j] * (thread + 1) / threads;
            if (from < to) rule($ARGUMENTS, factors, to - from, large);
        }
        $FENCE
    }
}
"""

# A tensor that is written and not read: where all do not fit into the caches, it is written past
# them, which would fetch it first.
_STREAM = """
#ifdef __SSE2__
    if (large && (uintptr_t)$TENSOR % 16 == 0) {
        stored part[64] __attribute__((aligned(16)));
        for (; length >= 64; length -= 64) {
            update($PARTS, factors, 64);
            for (int j = 0; j < (int)sizeof(part) / 16; j++)
                _mm_stream_si128((__m128i *)$TENSOR + j, ((__m128i *)part)[j]);
            $NEXT;
        }
    }
#endif"""


def write_source(program: Program, dtype: torch.dtype, compensated: bool) -> str:
    """Writes the source of `run`, which updates tensors of any sizes.

    Args:
        program: what the rule does.
        dtype: of the tensors, one of `DTYPES`.
        compensated: whether the tensors that it writes are sums of two.
    """
    stored, number, load, store = (_WIDE if compensated else DTYPES)[dtype]
    tensors, written = range(len(program.results)), program.written()
    short = {i: f"short{i}" for i in written} if compensated else {}
    used = {x for step in program.steps for x in step.operands} | set(program.results)
    body = []
    for i in tensors:
        if f"x{i}" in used:
            rest = f" + {load.format(f'{short[i]}[i]')}" if i in short else ""
            body.append(f"const stored s{i} = tensor{i}[i];")
            body.append(f"const number x{i} = {load.format(f's{i}')}{rest};")
    for step in program.steps:
        operation = OPERATIONS[step.operation]
        kind = "int" if operation.gives_mask else "number"
        body.append(f"const {kind} {step.name} = {operation.c.format(*map(_in_c, step.operands))};")
    for i in written:
        result = program.results[i]
        same = result.startswith("x")  # as it was stored, bit for bit
        body.append(f"tensor{i}[i] = {f's{result[1:]}' if same else store.format(result)};")
    for i, name in short.items():
        error = f"{program.results[i]} - {load.format(f'tensor{i}[i]')}"
        body.append(f"{name}[i] = {store.format(error)};")
    pointers = [f"tensor{i}" for i in tensors] + list(short.values())
    stream = ""
    for i in (i for i in written if f"x{i}" not in used):
        own = pointers[i]
        names = {
            "TENSOR": own,
            "PARTS": ", ".join("part" if name == own else name for name in pointers),
            "NEXT": ", ".join(f"{name} += 64" for name in pointers),
        }
        stream = Template(_STREAM).substitute(names)
    parts = {
        "STREAM": stream,
        "FENCE": "_mm_sfence();" if stream else "",
        "NAMES": ", ".join(pointers),
        "COLUMNS": len(pointers),
        "STORED": stored,
        "NUMBER": number,
        "POINTERS": ", ".join(f"stored *restrict {name}" for name in pointers),
        "FACTORS": "\n".join(
            f"    const number f{k} = factors[{k}];" for k in range(program.factors)
        ),
        "BODY": "\n".join(f"        {line}" for line in body),
        "ARGUMENTS": ", ".join(
            f"tensors[{column} * count + j] + from" for column in range(len(pointers))
        ),
    }
    return Template(_SOURCE).substitute(parts)


def _in_c(operand: str | float) -> str:
    if isinstance(operand, str):
        return operand
    if isnan(operand):
        return "(number)NAN"
    if isinf(operand):
        return "(number)INFINITY" if operand > 0 else "(number)-INFINITY"
    return f"(number){float(operand)!r}"
