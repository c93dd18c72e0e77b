/* sstable_codec.c: packing of blocks, and unpacking of whatever bytes are there.
 *
 * A zstd context for unpacking is large and slow to make, and a reader needs one only for moments:
 * a few are kept for all threads. */
#include "sstable/sstable_internal.h"

#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

#define ZSTD_LEVEL 3
#define LZ4_RATIO_MAX 255u
/* A block that does not get smaller by this part of it is quicker read in place. */
#define WORTH 8
#define SPARE_CONTEXTS 4

struct sstable_packer {
    sstable_codec codec;
    ZSTD_CCtx *zstd;
};

sstable_packer *sstable_packer_create(sstable_codec codec) {
    sstable_packer *p = mem_zalloc(sizeof *p);
    p->codec = codec;
    if (codec == SSTABLE_ZSTD) {
        p->zstd = ZSTD_createCCtx();
        ASSERT(p->zstd != NULL);
    }
    return p;
}

void sstable_packer_destroy(sstable_packer **p) {
    if (*p != NULL) {
        (void)ZSTD_freeCCtx((*p)->zstd);
        free(*p);
        *p = NULL;
    }
}

size_t sstable_pack(sstable_packer *p, const void *data, size_t size, void *out) {
    ASSERT(size >= WORTH && size <= SSTABLE_SINGLE_BYTES);
    if (p->codec == SSTABLE_LZ4) {
        int packed = LZ4_compress_default(data, out, (int)size, (int)(size - size / WORTH));
        return packed <= 0 ? 0 : (size_t)packed;
    }
    if (p->codec == SSTABLE_ZSTD) {
        size_t packed =
            ZSTD_compressCCtx(p->zstd, out, size - size / WORTH, data, size, ZSTD_LEVEL);
        return ZSTD_isError(packed) != 0 ? 0 : packed;
    }
    return 0;
}

bool sstable_unpack_may_yield(sstable_codec codec, const void *data, size_t size,
                              size_t raw_bytes) {
    if (codec == SSTABLE_LZ4) {
        return raw_bytes / LZ4_RATIO_MAX <= size;
    }
    return codec == SSTABLE_ZSTD && ZSTD_getFrameContentSize(data, size) == raw_bytes;
}

static _Atomic(ZSTD_DCtx *) spare_contexts[SPARE_CONTEXTS];

static ZSTD_DCtx *context_take(void) {
    for (size_t i = 0; i < SPARE_CONTEXTS; i++) {
        ZSTD_DCtx *context =
            atomic_exchange_explicit(&spare_contexts[i], NULL, memory_order_acquire);
        if (context != NULL) {
            return context;
        }
    }
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ASSERT(context != NULL);
    return context;
}

static void context_give(ZSTD_DCtx *context) {
    for (size_t i = 0; i < SPARE_CONTEXTS; i++) {
        ZSTD_DCtx *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&spare_contexts[i], &none, context,
                                                    memory_order_release, memory_order_relaxed)) {
            return;
        }
    }
    (void)ZSTD_freeDCtx(context);
}

bool sstable_unpack(sstable_codec codec, const void *data, size_t size, void *out,
                    size_t raw_bytes) {
    if (size > SSTABLE_SINGLE_BYTES || raw_bytes > SSTABLE_SINGLE_BYTES) {
        return false;
    }
    if (codec == SSTABLE_LZ4) {
        return LZ4_decompress_safe(data, out, (int)size, (int)raw_bytes) == (int)raw_bytes;
    }
    if (codec != SSTABLE_ZSTD) {
        return false;
    }
    ZSTD_DCtx *context = context_take();
    size_t got = ZSTD_decompressDCtx(context, out, raw_bytes, data, size);
    context_give(context);
    return got == raw_bytes;
}
