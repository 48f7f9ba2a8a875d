/* The part of a JPEG that a window needs, decoded to RGBX by the libjpeg-turbo that Pillow has loaded. */

#ifndef PINNACE_JPEG_H
#define PINNACE_JPEG_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int left, top, right, bottom;
} Box;

/* Look the functions of libjpeg-turbo up among what the shared library at `path` is linked with; it must be loaded.
 * 1 if they are all there, and have the ABI that this was built for; 0 if not. */
int jpeg_bind(const char *path);

/* Is given `count` rows of a box, from its row `first` on, which lie `stride` bytes apart. */
typedef void (*Sink)(void *to, const uint8_t *rows, size_t stride, int first, int count);

/* Decode `box`, which lies inside a picture of `width` x `height`, some rows at a time. 1: `sink` was given all of them.
 * 0: this is not for that file, which may be damaged; `sink` may have been given some. -1: no memory. May be called by
 * several threads, after `jpeg_bind`. */
int jpeg_decode(const uint8_t *data, size_t size, int width, int height, Box box, Sink sink, void *to);

#endif
