/* Whatever is not the plain case is left to Pillow: the first warning of libjpeg-turbo ends it, and so does a file
 * that ends early. So what is decoded here has no damage, and damage is told in Pillow's words.
 *
 * The library is Pillow's own, found by the names of its functions, so that the bits are those of its version. Its
 * header only says how the structures of its ABI lie in memory, which `jpeg_CreateDecompress` compares. */

#include "_jpeg.h"

#if defined(__has_include) && !defined(_WIN32)
#if __has_include(<jconfig.h>) && __has_include(<jpeglib.h>)
#include <stdio.h>

#include <jconfig.h>
#define JCONFIG_INCLUDED
#undef JPEG_LIB_VERSION
#define JPEG_LIB_VERSION 62 /* Pillow's wheels have this one, whatever the system's header is for */
#include <jpeglib.h>
#ifdef JCS_EXTENSIONS
#define HAS_JPEG
#endif
#endif
#endif

#ifndef HAS_JPEG

int jpeg_bind(const char *path) {
    (void)path;
    return 0;
}

int jpeg_decode(const uint8_t *data, size_t size, int width, int height, Box box, Sink sink, void *to) {
    (void)data, (void)size, (void)width, (void)height, (void)box, (void)sink, (void)to;
    return 0;
}

#else

#include <dlfcn.h>
#include <setjmp.h>
#include <stdlib.h>

/* Columns beside the box: the upsampling of colours looks at neighbours, and a part that is cut out has none. */
#define MARGIN 16

/* A file of several scans is decoded whole, which is lost if it turns out to be damaged at its end. */
#define MOST_PIXELS_IN_SCANS (1 << 22)

#define ROWS 16

typedef struct {
    struct jpeg_error_mgr *(*std_error)(struct jpeg_error_mgr *);
    void (*create)(j_decompress_ptr, int, size_t);
    int (*read_header)(j_decompress_ptr, boolean);
    boolean (*start)(j_decompress_ptr);
    void (*crop)(j_decompress_ptr, JDIMENSION *, JDIMENSION *);
    JDIMENSION (*skip)(j_decompress_ptr, JDIMENSION);
    JDIMENSION (*read)(j_decompress_ptr, JSAMPARRAY, JDIMENSION);
    boolean (*finish)(j_decompress_ptr);
    boolean (*several_scans)(j_decompress_ptr);
    void (*destroy)(j_decompress_ptr);
    int bound;
} Library;

static Library library;

typedef struct {
    struct jpeg_decompress_struct info;
    struct jpeg_source_mgr source;
    struct jpeg_error_mgr errors;
    jmp_buf out;
    uint8_t *rows;
    int no_memory;
} Job;

static void leave(j_common_ptr info) { longjmp(((Job *)info->client_data)->out, 1); }

static void leave_on_warning(j_common_ptr info, int level) {
    if (level < 0) leave(info);
}

static void say_nothing(j_common_ptr info) { (void)info; }

static void do_nothing(j_decompress_ptr info) { (void)info; }

static boolean at_the_end(j_decompress_ptr info) {
    leave((j_common_ptr)info);
    return FALSE;
}

static void skip_bytes(j_decompress_ptr info, long count) {
    if (count <= 0) return;
    if ((unsigned long)count > info->src->bytes_in_buffer) leave((j_common_ptr)info);
    info->src->next_input_byte += count;
    info->src->bytes_in_buffer -= count;
}

static boolean without_resync(j_decompress_ptr info, int wanted) {
    (void)wanted;
    leave((j_common_ptr)info);
    return FALSE;
}

static void create(Job *job) {
    job->info.err = library.std_error(&job->errors);
    job->errors.error_exit = leave;
    job->errors.emit_message = leave_on_warning;
    job->errors.output_message = say_nothing;
    job->info.client_data = job;
    library.create(&job->info, JPEG_LIB_VERSION, sizeof job->info);
}

/* In a function of its own, so that no local variable of the caller lives over the jump. */
static int in_job(Job *job, void (*work)(Job *, void *), void *given) {
    if (setjmp(job->out)) {
        library.destroy(&job->info);
        return job->no_memory ? -1 : 0;
    }
    create(job);
    work(job, given);
    library.destroy(&job->info);
    return 1;
}

static void work_on_nothing(Job *job, void *given) { (void)job, (void)given; }

int jpeg_bind(const char *path) {
    void *handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (!handle) return 0;
    Library before = library, found;
#define FIND(member, name) (*(void **)&found.member = dlsym(handle, name))
    int good = FIND(std_error, "jpeg_std_error") && FIND(create, "jpeg_CreateDecompress") &&
               FIND(read_header, "jpeg_read_header") && FIND(start, "jpeg_start_decompress") &&
               FIND(crop, "jpeg_crop_scanline") && FIND(skip, "jpeg_skip_scanlines") &&
               FIND(read, "jpeg_read_scanlines") && FIND(finish, "jpeg_finish_decompress") &&
               FIND(several_scans, "jpeg_has_multiple_scans") && FIND(destroy, "jpeg_destroy_decompress");
    if (!good) return 0;
    Job *job = calloc(1, sizeof(Job));
    library = found;
    library.bound = job && in_job(job, work_on_nothing, NULL) == 1;
    free(job);
    if (library.bound) return 1;
    library = before;
    return 0;
}

/* Three components, of which the first has at least as many samples as the others, in one of the usual ways. */
static int is_usual(j_decompress_ptr info) {
    if (info->num_components != 3 || info->arith_code || info->data_precision != 8) return 0;
    const jpeg_component_info *c = info->comp_info;
    for (int i = 1; i < 3; i++)
        if (c[i].h_samp_factor != 1 || c[i].v_samp_factor != 1) return 0;
    int h = c->h_samp_factor, v = c->v_samp_factor;
    return ((h == 1 || h == 2) && (v == 1 || v == 2)) || (h == 4 && v == 1);
}

/* Whether a progressive file has all bits of the coefficients: where not, neighbours are smoothed. */
static int is_complete(j_decompress_ptr info) {
    if (!info->progressive_mode) return 1;
    if (!info->coef_bits) return 0;
    for (int c = 0; c < info->num_components; c++)
        for (int k = 0; k < DCTSIZE2; k++)
            if (info->coef_bits[c][k] != 0) return 0;
    return 1;
}

typedef struct {
    const uint8_t *data;
    size_t size;
    JDIMENSION width, height;
    Box box;
    Sink sink;
    void *to;
} Wanted;

static void decode(Job *job, void *given) {
    Wanted *wanted = given;
    j_decompress_ptr info = &job->info;
    JDIMENSION left = wanted->box.left, right = wanted->box.right, top = wanted->box.top, bottom = wanted->box.bottom;
    job->source.next_input_byte = wanted->data;
    job->source.bytes_in_buffer = wanted->size;
    job->source.init_source = job->source.term_source = do_nothing;
    job->source.fill_input_buffer = at_the_end;
    job->source.skip_input_data = skip_bytes;
    job->source.resync_to_restart = without_resync;
    info->src = &job->source;
    library.read_header(info, TRUE);
    if (info->image_width != wanted->width || info->image_height != wanted->height || !is_usual(info))
        leave((j_common_ptr)info);
    int several_scans = library.several_scans(info);
    if (several_scans && (uint64_t)wanted->width * wanted->height > MOST_PIXELS_IN_SCANS) leave((j_common_ptr)info);
    info->out_color_space = JCS_EXT_RGBX; /* the rest is as Pillow leaves it: JDCT_ISLOW, fancy upsampling */
    info->do_block_smoothing = FALSE;     /* of no account for a complete file */
    library.start(info);
    if (!is_complete(info)) leave((j_common_ptr)info);
    JDIMENSION x = left > MARGIN ? left - MARGIN : 0;
    JDIMENSION width = (right + MARGIN < wanted->width ? right + MARGIN : wanted->width) - x;
    library.crop(info, &x, &width);
    size_t stride = 4 * (size_t)width;
    job->rows = malloc(ROWS * stride);
    if (!job->rows) {
        job->no_memory = 1;
        leave((j_common_ptr)info);
    }
    JSAMPROW rows[ROWS];
    for (int i = 0; i < ROWS; i++) rows[i] = job->rows + i * stride;
    if (top) library.skip(info, top);
    while (info->output_scanline < bottom) {
        JDIMENSION first = info->output_scanline - top, left_over = bottom - info->output_scanline;
        JDIMENSION count = library.read(info, rows, left_over < ROWS ? left_over : ROWS);
        if (!count) leave((j_common_ptr)info);
        wanted->sink(wanted->to, job->rows + 4 * (size_t)(left - x), stride, (int)first, (int)count);
    }
    /* The rest is read, but for its pixels: it may be damaged, or not there. To skip the last row would leave it out. */
    while (!several_scans && info->output_scanline < wanted->height) {
        JDIMENSION below = wanted->height - info->output_scanline - 1;
        if (below && !library.skip(info, below)) leave((j_common_ptr)info);
        if (!library.read(info, rows, 1)) leave((j_common_ptr)info);
    }
    if (!several_scans) library.finish(info);
}

int jpeg_decode(const uint8_t *data, size_t size, int width, int height, Box box, Sink sink, void *to) {
    if (!library.bound) return 0;
    Wanted wanted = {data, size, width, height, box, sink, to};
    Job *job = calloc(1, sizeof(Job));
    if (!job) return -1;
    int good = in_job(job, decode, &wanted);
    free(job->rows);
    free(job);
    return good;
}

#endif
