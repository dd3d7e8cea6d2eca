/* Compressed run lengths, measured and compared where they stand: in the text of a JSON file.
 *
 * Optional: without this module `packed.py` does the same with arrays and pycocotools, many times slower.
 *
 * A mask's text ends with a quotation mark, and a backslash in it is doubled, as in JSON. Each character holds a digit
 * of five bits, low ones first; see runs.py. All of it comes from elsewhere: nothing is read outside of its bytes, and
 * sums are of unsigned integers, which may wrap.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h> /* all of x86-64 has it */
#define HAS_SSE2 1
#endif

enum { FIRST = '0', MORE = 32, SIGN = 16, BITS = 5, MOST_BITS = 35 };
enum { LARGEST_SIDE = 1 << 20, LARGEST_RUN_BITS = 40, MOST_KEYS = 64 };

typedef unsigned char Byte;

/* One mask; a height of 0 stands for none. `PackedMasks` has the same as a table. */
typedef struct {
    int64_t begin;
    int32_t length, height, width, area, first, last;
} Mask;

/* Reads one digit and moves `*at` behind it; one of 2 * MORE or more if there is none. */
static inline unsigned read_digit(const Byte **at, const Byte *end)
{
    if (*at == end) return 2 * MORE;
    unsigned digit = (unsigned)**at - FIRST;
    if (digit == '\\' - FIRST && (end - *at < 2 || *++*at != '\\')) return 2 * MORE;
    if (digit < 2 * MORE) ++*at;
    return digit;
}

/* Reads one number and moves `*at` behind it; 0 if there is none. */
static inline int read_number(const Byte **at, const Byte *end, uint64_t *value)
{
    unsigned digit = read_digit(at, end);
    if (digit < MORE) { /* nearly always: neighbouring columns differ little */
        *value = (uint64_t)(digit ^ SIGN) - SIGN;
        return 1;
    }
    int bits = BITS;
    *value = digit & (MORE - 1);
    while (digit & MORE) {
        if (digit >= 2 * MORE || bits == MOST_BITS) return 0;
        digit = read_digit(at, end);
        *value |= (uint64_t)(digit & (MORE - 1)) << bits;
        bits += BITS;
    }
    if (digit & SIGN) *value -= (uint64_t)1 << bits;
    return digit < MORE;
}

#define EACH(byte) ((byte) * UINT64_C(0x0101010101010101))
#define EVERY_SECOND UINT64_C(0x00FF00FF00FF00FF)
#define SUMS UINT64_C(0x0001000100010001) /* times this, every 16 bits become the sum of themselves and all below */

static inline int zero_bytes_below(uint64_t bits) /* of bits that are not 0 */
{
#if defined(__GNUC__)
    return __builtin_ctzll(bits) / 8;
#else
    int count = 0;
    while (!(bits & 0xFF)) bits >>= 8, count++;
    return count;
#endif
}

static inline uint64_t eight_bytes(const Byte *text)
{
    uint64_t bytes = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int i = 7; i >= 0; i--) bytes = bytes << 8 | text[i];
#else
    memcpy(&bytes, text, 8);
#endif
    return bytes;
}

/* The last run and the sum of all runs, of one colour. */
typedef struct {
    uint64_t run, sum;
} Colour;

static inline void swap(Colour *a, Colour *b)
{
    Colour other = *a;
    *a = *b;
    *b = other;
}

/* The first 1 to 8 of eight numbers of one character each, in every byte the difference to the last but one + 16.
 *
 * `upto` has the sums of each byte and those before it of the same colour: at most four times 31, so that none flows
 * over into the next.
 */
typedef struct {
    uint64_t upto, kept;
    int count;
} Short;

/* Of the bytes from "0" to "O" that come first; the digits have 0x80 to 0x9F for these. */
static inline Short short_numbers(uint64_t digits, int count)
{
    uint64_t kept = ~(uint64_t)0 >> (64 - 8 * count);
    return (Short){((digits & EACH(MORE - 1) & kept) ^ (EACH(SIGN) & kept)) * SUMS, kept, count};
}

/* Bits if a run is negative; the first number is of `a`. */
static inline uint64_t negative(Short numbers, Colour a, Colour b)
{
    uint64_t low_a = a.run < 64 ? a.run : 64, low_b = b.run < 64 ? b.run : 64; /* none falls by more than 64 */
    uint64_t runs_and_128 = numbers.upto + UINT64_C(0x4040505060607070) + (low_a | low_b << 8) * SUMS;
    return ~runs_and_128 & numbers.kept & EACH(0x80);
}

static inline void add_short(Short numbers, Colour *a, Colour *b)
{
    uint64_t of_a = numbers.upto & EVERY_SECOND, of_b = numbers.upto >> 8 & EVERY_SECOND;
    uint64_t count_a = (uint64_t)(numbers.count + 1) / 2, count_b = (uint64_t)numbers.count / 2;
    a->sum += count_a * a->run + ((of_a & numbers.kept) * SUMS >> 48) - 8 * count_a * (count_a + 1);
    b->sum += count_b * b->run + ((of_b & numbers.kept >> 8) * SUMS >> 48) - 8 * count_b * (count_b + 1);
    a->run += (of_a >> 48) - 16 * count_a;
    b->run += (of_b >> 48) - 16 * count_b;
}

/* Adds numbers of one character each while there are sixteen; the first is of `a`. Returns where they end. */
static inline const Byte *add_sixteens(const Byte *text, const Byte *end, Colour *a, Colour *b, uint64_t *bad)
{
#ifdef HAS_SSE2
    const __m128i none = _mm_setzero_si128(), low = _mm_set1_epi16(0xFF), top = _mm_set1_epi8((char)0x80);
    __m128i sums_a = none, sums_b = none; /* of differences to the run before + 128 */
    uint64_t blocks = 0;
    for (; end - text >= 16; text += 16, blocks++) {
        __m128i digits = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)text), _mm_set1_epi8(FIRST));
        __m128i others = _mm_and_si128(digits, _mm_set1_epi8((char)0xE0));
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(others, none)) != 0xFFFF) break;
        __m128i upto = _mm_sub_epi8(_mm_xor_si128(digits, _mm_set1_epi8(SIGN)), _mm_set1_epi8(SIGN));
        upto = _mm_add_epi8(upto, _mm_slli_si128(upto, 2)); /* sums of each and those before it of the same colour: */
        upto = _mm_add_epi8(upto, _mm_slli_si128(upto, 4)); /* at most eight, each from -16 to 15 */
        upto = _mm_add_epi8(upto, _mm_slli_si128(upto, 8));
        __m128i and_128 = _mm_xor_si128(upto, top);
        if (a->run < 128 || b->run < 128) { /* they may fall below 0, but not by more than 128 */
            unsigned least_a = a->run < 128 ? 128 - (unsigned)a->run : 0;
            unsigned least_b = b->run < 128 ? 128 - (unsigned)b->run : 0;
            __m128i least = _mm_set1_epi16((short)(least_a | least_b << 8));
            if (_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(and_128, least), and_128)) != 0xFFFF) *bad = ~(uint64_t)0;
        }
        sums_a = _mm_add_epi64(sums_a, _mm_sad_epu8(_mm_and_si128(and_128, low), none));
        sums_b = _mm_add_epi64(sums_b, _mm_sad_epu8(_mm_srli_epi16(and_128, 8), none));
        a->sum += 8 * a->run;
        b->sum += 8 * b->run;
        *bad |= a->sum | b->sum;
        int last = _mm_extract_epi16(upto, 7);
        a->run += (uint64_t)(int64_t)(int8_t)(last & 0xFF);
        b->run += (uint64_t)(int64_t)(int8_t)(last >> 8);
    }
    uint64_t halves[4];
    _mm_storeu_si128((__m128i *)halves, sums_a);
    _mm_storeu_si128((__m128i *)(halves + 2), sums_b);
    a->sum += halves[0] + halves[1] - 8 * 128 * blocks;
    b->sum += halves[2] + halves[3] - 8 * 128 * blocks;
#else
    (void)end, (void)a, (void)b, (void)bad;
#endif
    return text;
}

/* Measures the mask whose text begins there. Returns the end of what can be read as numbers.
 *
 * `mask->area` is -1 if there is none, a run is negative, or they don't cover height * width pixels. */
static const Byte *measure(const Byte *text, const Byte *end, Mask *mask)
{
    Colour a = {0, 0}, b = {0, 0}; /* of the next run, and of the other colour */
    uint64_t wrong = 0, large = 0, value = 0, start = 0;
    const Byte *begin = text, *behind = text;
    int foreground = 0, read = 0; /* whether `a` is; how many of the three first, which stand for themselves */
    for (; read < 3 && read_number(&behind, end, &value); read++, text = behind) {
        if (!read) start = value;
        a.run = value;
        a.sum += value;
        large |= value;
        swap(&a, &b);
        foreground ^= 1;
    }
    while (read == 3) {
        text = add_sixteens(text, end, &a, &b, &large);
        if (end - text >= 8) {
            uint64_t digits = eight_bytes(text) + EACH(0x80 - FIRST), others = (digits ^ EACH(0x80)) & EACH(0xE0);
            if (!others) { /* nearly always; a branch, so that the next bytes need not wait for a count */
                Short numbers = short_numbers(digits, 8);
                if (a.run < 64 || b.run < 64) wrong |= negative(numbers, a, b);
                add_short(numbers, &a, &b);
                large |= a.sum | b.sum;
                text += 8;
                continue;
            }
            int count = zero_bytes_below(others);
            if (count) {
                Short numbers = short_numbers(digits, count);
                wrong |= negative(numbers, a, b);
                add_short(numbers, &a, &b);
                large |= a.sum | b.sum;
            }
            text += count;
            if (count & 1) {
                swap(&a, &b);
                foreground ^= 1;
            }
        }
        behind = text;
        if (!read_number(&behind, end, &value)) break;
        text = behind;
        a.run += value;
        a.sum += a.run;
        large |= a.run | a.sum;
        swap(&a, &b);
        foreground ^= 1;
    }
    if (foreground) swap(&a, &b); /* now `a` is the background */
    int64_t pixels = (int64_t)mask->height * mask->width;
    int last_is_foreground = !foreground && text != begin;
    int sound = text != begin && !wrong && !(large >> LARGEST_RUN_BITS) && a.sum + b.sum == (uint64_t)pixels &&
                pixels <= INT32_MAX;
    mask->area = sound ? (int32_t)b.sum : -1;
    mask->first = sound ? (int32_t)start : 0;
    mask->last = sound ? (int32_t)((uint64_t)pixels - (last_is_foreground ? 0 : a.run)) : 0;
    return text;
}

/* ---- the masks of a JSON text ---- */

/* A key with its quotation marks, or the beginning of an object: NULL. */
typedef struct {
    const Byte *text;
    size_t length;
} Key;

typedef struct {
    Mask *masks;
    int64_t *lengths; /* of each list of masks */
    Byte *rest;       /* the text with NaN in place of each list */
    Key *keys;        /* of the objects that are open */
    size_t mask_count, mask_room, list_count, list_room, rest_count, rest_room, key_count, key_room;
} Found;

/* Makes room for `more` items; 0 if there is no memory. */
static int reserve(void **items, size_t *room, size_t count, size_t more, size_t size)
{
    if (count + more <= *room) return 1;
    size_t larger = 2 * (count + more) + 64;
    void *moved = realloc(*items, larger * size);
    if (!moved) return 0;
    *items = moved;
    *room = larger;
    return 1;
}

static inline const Byte *skip_blanks(const Byte *at, const Byte *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    return at;
}

/* Behind a word after blanks, or NULL if another comes. */
static inline const Byte *expect(const Byte *at, const Byte *end, const char *word, Py_ssize_t length)
{
    at = skip_blanks(at, end);
    return end - at >= length && !memcmp(at, word, (size_t)length) ? at + length : NULL;
}
#define EXPECT(word) (at = expect(at, end, word, sizeof(word) - 1))

static const Byte *read_side(const Byte *at, const Byte *end, int32_t *side)
{
    at = skip_blanks(at, end);
    const Byte *begin = at;
    *side = 0;
    while (at < end && *at >= '0' && *at <= '9' && *side <= LARGEST_SIDE) *side = 10 * *side + (*at++ - '0');
    return at > begin && *begin != '0' && *side <= LARGEST_SIDE ? at : NULL;
}

static const Byte *read_size(const Byte *at, const Byte *end, Mask *mask)
{
    if (!EXPECT("\"size\"") || !EXPECT(":") || !EXPECT("[")) return NULL;
    if (!(at = read_side(at, end, &mask->height)) || !EXPECT(",")) return NULL;
    if (!(at = read_side(at, end, &mask->width))) return NULL;
    return EXPECT("]");
}

/* Behind the text of a mask, which need not be sound, or NULL if it may be more than digits. */
static const Byte *read_counts(const Byte *at, const Byte *end, const Byte *text, Mask *mask)
{
    if (!EXPECT("\"counts\"") || !EXPECT(":") || !EXPECT("\"")) return NULL;
    mask->begin = at - text;
    at = measure(at, end, mask);
    while (at < end && *at != '"') { /* not sound */
        if (read_digit(&at, end) >= 2 * MORE) return NULL;
        mask->area = -1;
    }
    if (at == end || at - text - mask->begin > INT32_MAX) return NULL;
    mask->length = (int32_t)(at - text - mask->begin);
    return at + 1;
}

/* Behind {"size": [height, width], "counts": "text"}, or NULL if it is anything else. */
static const Byte *read_mask(const Byte *at, const Byte *end, const Byte *text, Mask *mask)
{
    if (!EXPECT("{")) return NULL;
    const Byte *begin = at;
    if ((at = read_size(at, end, mask))) {
        if (!EXPECT(",") || !(at = read_counts(at, end, text, mask))) return NULL;
    } else { /* the other order: measured again when the size is known */
        Mask sized = {0, 0, 0, 0, 0, 0, 0};
        if (!(at = read_counts(begin, end, text, mask)) || !EXPECT(",") || !(at = read_size(at, end, &sized)))
            return NULL;
        mask->height = sized.height;
        mask->width = sized.width;
        const Byte *stop = text + mask->begin + mask->length;
        if (measure(text + mask->begin, end, mask) != stop) mask->area = -1;
    }
    return EXPECT("}");
}

enum { NO_LIST, LIST, NO_MEMORY };

/* Reads a list of masks and nulls behind its bracket, and moves `*at` behind it. */
static int read_list(const Byte **from, const Byte *end, const Byte *text, Found *found)
{
    const Byte *at = *from, *next;
    size_t count = 0;
    for (;;) {
        if (!reserve((void **)&found->masks, &found->mask_room, found->mask_count + count, 1, sizeof(Mask)))
            return NO_MEMORY;
        Mask *mask = found->masks + found->mask_count + count++;
        memset(mask, 0, sizeof(Mask));
        if ((next = expect(at, end, "null", 4))) at = next;
        else if (!(at = read_mask(at, end, text, mask))) return NO_LIST;
        if ((next = expect(at, end, ",", 1))) at = next;
        else break;
    }
    if (!EXPECT("]")) return NO_LIST;
    if (!reserve((void **)&found->lengths, &found->list_room, found->list_count, 1, sizeof(int64_t))) return NO_MEMORY;
    found->lengths[found->list_count++] = (int64_t)count;
    found->mask_count += count;
    *from = at;
    return LIST;
}

static int keep(Found *found, const Byte *text, size_t length)
{
    if (!reserve((void **)&found->rest, &found->rest_room, found->rest_count, length, 1)) return 0;
    if (length) memcpy(found->rest + found->rest_count, text, length);
    found->rest_count += length;
    return 1;
}

/* Behind the string that begins there, or NULL if it has no end. */
static const Byte *skip_string(const Byte *at, const Byte *end)
{
    for (at++; (at = memchr(at, '"', (size_t)(end - at))); at++) {
        const Byte *before = at;
        while (before[-1] == '\\') before--; /* the quotation mark at the beginning stops it */
        if ((at - before) % 2 == 0) return at + 1;
    }
    return NULL;
}

static int open_object(Found *found)
{
    if (!reserve((void **)&found->keys, &found->key_room, found->key_count, 1, sizeof(Key))) return NO_MEMORY;
    found->keys[found->key_count++] = (Key){NULL, 0};
    return LIST;
}

static int close_object(Found *found)
{
    do {
        if (!found->key_count) return NO_LIST;
    } while (found->keys[--found->key_count].text);
    return LIST;
}

/* NO_LIST if its object has the key already, or that would take long to tell. */
static int add_key(const Byte *text, size_t length, Found *found)
{
    size_t count = found->key_count, before = count;
    if (memchr(text, '\\', length)) return NO_LIST;
    for (; before && found->keys[before - 1].text; before--)
        if (count - before == MOST_KEYS ||
            (found->keys[before - 1].length == length && !memcmp(found->keys[before - 1].text, text, length)))
            return NO_LIST;
    if (!reserve((void **)&found->keys, &found->key_room, count, 1, sizeof(Key))) return NO_MEMORY;
    found->keys[found->key_count++] = (Key){text, length};
    return LIST;
}

/* Finds the lists of masks under "segmentations".
 *
 * NO_LIST if the text already holds a NaN, is not JSON, or may have a key twice in an object: not for us to say. */
static int find_masks(const Byte *text, const Byte *end, Found *found)
{
    static const char key[] = "\"segmentations\"";
    const Byte *at = text, *kept = text, *next;
    int result;
    while (at < end) {
        Byte byte = *at;
        if (byte == 'N') return NO_LIST;
        if (byte == '{' && (result = open_object(found)) != LIST) return result;
        if (byte == '}' && (result = close_object(found)) != LIST) return result;
        if (byte != '"') {
            at++;
            continue;
        }
        const Byte *begin = at;
        if (!(at = skip_string(at, end))) return NO_LIST;
        if (!(next = expect(at, end, ":", 1))) continue;
        if ((result = add_key(begin, (size_t)(at - begin), found)) != LIST) return result;
        if (at - begin != sizeof(key) - 1 || memcmp(begin, key, sizeof(key) - 1)) continue;
        if (!(next = expect(next, end, "[", 1))) continue;
        const Byte *bracket = next - 1;
        result = read_list(&next, end, text, found);
        if (result == NO_MEMORY) return NO_MEMORY;
        if (result == NO_LIST) continue;
        if (!keep(found, kept, (size_t)(bracket - kept)) || !keep(found, (const Byte *)"NaN", 3)) return NO_MEMORY;
        at = kept = next;
    }
    return keep(found, kept, (size_t)(end - kept)) ? LIST : NO_MEMORY;
}

static PyObject *scan(PyObject *module, PyObject *arguments)
{
    const char *text;
    Py_ssize_t length;
    Found found = {NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0};
    if (!PyArg_ParseTuple(arguments, "y#", &text, &length)) return NULL;
    int outcome = find_masks((const Byte *)text, (const Byte *)text + length, &found);
    PyObject *result = NULL;
    if (outcome == LIST && found.list_count)
        result = Py_BuildValue("y#y#y#", found.rest, (Py_ssize_t)found.rest_count, found.masks,
                               (Py_ssize_t)(found.mask_count * sizeof(Mask)), found.lengths,
                               (Py_ssize_t)(found.list_count * sizeof(int64_t)));
    else if (outcome == NO_MEMORY)
        PyErr_NoMemory();
    else
        result = Py_BuildValue("");
    free(found.rest);
    free(found.masks);
    free(found.lengths);
    free(found.keys);
    return result;
}

/* ---- tables of masks ---- */

/* Whether all masks lie in a text of that length. */
static int all_within(const Mask *masks, size_t count, Py_ssize_t length)
{
    for (size_t i = 0; i < count; i++)
        if (masks[i].begin < 0 || masks[i].length < 0 || masks[i].begin > length ||
            masks[i].length > length - masks[i].begin)
            return PyErr_SetString(PyExc_ValueError, "a mask lies outside of its text"), 0;
    return 1;
}

static PyObject *areas(PyObject *module, PyObject *arguments)
{
    const char *text, *table;
    Py_ssize_t length, size;
    if (!PyArg_ParseTuple(arguments, "y#y#", &text, &length, &table, &size)) return NULL;
    size_t count = (size_t)size / sizeof(Mask);
    PyObject *result = PyBytes_FromStringAndSize(table, (Py_ssize_t)(count * sizeof(Mask)));
    if (!result) return NULL;
    Mask *masks = (Mask *)PyBytes_AsString(result);
    if (!all_within(masks, count, length)) return Py_DECREF(result), NULL;
    for (Mask *mask = masks; mask < masks + count; mask++) {
        if (!mask->height) continue;
        const Byte *begin = (const Byte *)text + mask->begin, *stop = begin + mask->length;
        if (measure(begin, (const Byte *)text + length, mask) != stop) mask->area = -1;
    }
    return result;
}

/* The position after each run: foreground lies between edges[0] and edges[1], edges[2] and edges[3], ... */
typedef struct {
    int32_t *edges;
    size_t count, room; /* the count is even */
} Outline;

/* Reads a mask that `measure` found sound; 0 if there is no memory. */
static int read_outline(const Byte *text, const Mask *mask, Outline *outline)
{
    outline->count = 0;
    if (mask->area <= 0) return 1;
    if (!reserve((void **)&outline->edges, &outline->room, 0, (size_t)mask->length + 1, sizeof(int32_t))) return 0;
    const Byte *at = text + mask->begin, *end = at + mask->length;
    uint32_t run = 0, other = 0, position = 0; /* the last run of the next one's colour, and of the other */
    uint64_t value = 0;
    int32_t *edge = outline->edges;
    for (;;) {
        if (end - at >= 8 && edge - outline->edges > 2) {
            uint64_t digits = eight_bytes(at) + EACH(0x80 - FIRST);
            if (!((digits ^ EACH(0x80)) & EACH(0xE0))) {
                for (int i = 0; i < 8; i += 2, digits >>= 16) {
                    *edge++ = (int32_t)(position += run += ((uint32_t)digits % MORE ^ SIGN) - SIGN);
                    *edge++ = (int32_t)(position += other += ((uint32_t)(digits >> 8) % MORE ^ SIGN) - SIGN);
                }
                at += 8;
                continue;
            }
        }
        if (!read_number(&at, end, &value)) break;
        uint32_t next = (edge - outline->edges > 2 ? run : 0) + (uint32_t)value;
        *edge++ = (int32_t)(position += next);
        run = other;
        other = next;
    }
    outline->count = (size_t)(edge - outline->edges) & ~(size_t)1;
    return 1;
}

/* The first foreground stretch of `from` to `end` that ends behind `position`. */
static const int32_t *first_behind(const int32_t *from, const int32_t *end, int32_t position)
{
    Py_ssize_t stretches = (end - from) / 2;
    while (stretches > 0) {
        Py_ssize_t half = stretches / 2;
        if (from[2 * half + 1] <= position) {
            from += 2 * (half + 1);
            stretches -= half + 1;
        } else {
            stretches = half;
        }
    }
    return from;
}

/* Pixels in both: walks the foreground stretches that the two may share. */
static int64_t shared_pixels(const Outline *a, const Outline *b)
{
    const int32_t *x = a->edges, *y = b->edges, *x_end = x + a->count, *y_end = y + b->count;
    int64_t shared = 0;
    if (x == x_end || y == y_end) return 0;
    x = first_behind(x, x_end, y[0]);
    if (x == x_end) return 0;
    y = first_behind(y, y_end, x[0]);
    if (y == y_end) return 0;
    for (;;) { /* two branches that mostly alternate are foreseen; one without a branch would wait for each step */
        if (x[1] < y[1]) {
            int64_t overlap = (int64_t)x[1] - (x[0] > y[0] ? x[0] : y[0]);
            shared += overlap > 0 ? overlap : 0;
            if ((x += 2) == x_end) return shared;
        } else {
            int64_t overlap = (int64_t)y[1] - (x[0] > y[0] ? x[0] : y[0]);
            shared += overlap > 0 ? overlap : 0;
            if ((y += 2) == y_end) return shared;
        }
    }
}

static int may_meet(const Mask *a, const Mask *b)
{
    return a->area > 0 && b->area > 0 && a->first < b->last && b->first < a->last;
}

/* The masks of one side of all groups, and the text in which they are. */
typedef struct {
    const Byte *text;
    const Mask *masks;
    size_t count;
} Side;

/* Adds to (D, G) sums, or writes (T, D, G), the pixels that D and G tracks of T frames share; 0 without memory. */
static int compare(const Side *first, const Side *second, const int64_t *group, int64_t *shared, int per_frame,
                   Outline *own, Outline *others)
{
    size_t d = (size_t)group[0], g = (size_t)group[1], frames = (size_t)group[2];
    for (size_t t = 0; t < frames; t++, shared += per_frame ? d * g : 0) {
        for (size_t j = 0; j < g; j++) others[j].count = SIZE_MAX; /* not read yet */
        for (size_t i = 0; i < d; i++) {
            const Mask *mine = first->masks + i * frames + t;
            int read = 0;
            for (size_t j = 0; j < g; j++) {
                const Mask *theirs = second->masks + j * frames + t;
                if (!may_meet(mine, theirs)) continue;
                if (others[j].count == SIZE_MAX && !read_outline(second->text, theirs, others + j)) return 0;
                if (!read && !read_outline(first->text, mine, own)) return 0;
                read = 1;
                shared[i * g + j] += shared_pixels(own, others + j);
            }
        }
    }
    return 1;
}

/* What the groups need in all: masks of either side, numbers that come out, the most tracks on the second side. */
static int sum_up(const int64_t *groups, size_t count, const Side *first, const Side *second, int per_frame,
                  size_t *numbers, size_t *most)
{
    uint64_t masks = 0, others = 0;
    *numbers = *most = 0;
    for (const int64_t *group = groups; group < groups + 3 * count; group += 3) {
        for (int k = 0; k < 3; k++)
            if (group[k] < 0 || group[k] > INT32_MAX) return 0;
        uint64_t d = (uint64_t)group[0], g = (uint64_t)group[1], frames = (uint64_t)group[2];
        masks += d * frames;
        others += g * frames;
        if (masks > first->count || others > second->count) return 0;
        uint64_t each = per_frame ? frames : 1;
        if (d && g && each > (uint64_t)PY_SSIZE_T_MAX / 16 / (d * g)) return 0;
        *numbers += (size_t)(d * g * each);
        if (*numbers > (size_t)PY_SSIZE_T_MAX / 16) return 0;
        *most = g > *most ? (size_t)g : *most;
    }
    return masks == first->count && others == second->count;
}

static PyObject *intersections(PyObject *module, PyObject *arguments)
{
    const char *texts[2], *tables[2], *plan;
    Py_ssize_t lengths[2], sizes[2], plan_size;
    int per_frame;
    if (!PyArg_ParseTuple(arguments, "y#y#y#y#y#p", texts, lengths, tables, sizes, texts + 1, lengths + 1, tables + 1,
                          sizes + 1, &plan, &plan_size, &per_frame))
        return NULL;
    Side sides[2];
    for (int k = 0; k < 2; k++) {
        sides[k] = (Side){(const Byte *)texts[k], (const Mask *)tables[k], (size_t)sizes[k] / sizeof(Mask)};
        if (!all_within(sides[k].masks, sides[k].count, lengths[k])) return NULL;
    }
    const int64_t *groups = (const int64_t *)plan;
    size_t group_count = (size_t)plan_size / (3 * sizeof(int64_t)), numbers, most;
    if (!sum_up(groups, group_count, sides, sides + 1, per_frame, &numbers, &most))
        return PyErr_SetString(PyExc_ValueError, "the groups don't hold just these masks"), NULL;
    PyObject *result = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(numbers * sizeof(int64_t)));
    Outline own = {NULL, 0, 0}, *others = calloc(most + 1, sizeof(Outline));
    int enough = result && others;
    int64_t *shared = enough ? (int64_t *)PyByteArray_AsString(result) : NULL;
    if (enough && numbers) memset(shared, 0, numbers * sizeof(int64_t));
    for (const int64_t *group = groups; enough && group < groups + 3 * group_count; group += 3) {
        enough = compare(sides, sides + 1, group, shared, per_frame, &own, others);
        sides[0].masks += group[0] * group[2];
        sides[1].masks += group[1] * group[2];
        shared += group[0] * group[1] * (per_frame ? group[2] : 1);
    }
    free(own.edges);
    for (size_t j = 0; others && j < most; j++) free(others[j].edges);
    free(others);
    if (enough) return result;
    Py_XDECREF(result);
    return PyErr_NoMemory();
}

static PyMethodDef methods[] = {
    {"scan", scan, METH_VARARGS,
     "scan(json) -> the JSON with NaN in place of each list of masks under \"segmentations\", the table of the masks,\n"
     "measured, and the (int64) lengths of the lists, all as bytes; None if there is no such list, a NaN already, or\n"
     "perhaps a key twice in one object."},
    {"areas", areas, METH_VARARGS, "areas(text, table) -> the table with its masks measured; an area of -1: not sound."},
    {"intersections", intersections, METH_VARARGS,
     "intersections(text, table, other text, other table, groups, per frame) -> int64 pixels that are shared within\n"
     "groups of (int64) D tracks, G other tracks and T frames, in which the tables' masks come: (D, G) for each group,\n"
     "or (T, D, G), as a bytearray."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_masks", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__masks(void)
{
    return PyModule_Create(&definition);
}
