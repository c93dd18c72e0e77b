/* The book of one instrument: a level per price between the price limits, a queue of orders in
 * each.
 *
 * Adding, reducing and removing an order take constant time; finding the best price after a level
 * emptied is a search for the next set bit in the side's bitmap.
 *
 * Invariants
 *  B1 A level's orders are linked in order of arrival, and its volume is the sum of what is left of
 *     them.
 *  B2 The bit of a price is set for the side whose orders rest there, and for no side when the
 * level is empty. A price never holds orders of both sides. B3 best[side] is the best occupied
 * price of the side. best[SIM_BUY] < best[SIM_SELL] when both are there: whoever adds an order has
 * matched it first. */
#include "sim/sim_internal.h"

#include <stdlib.h>

static size_t words_of(const sim_book *book) {
    return (size_t)((book->high - book->low) / 64 + 1);
}

void sim_book_init(sim_book *book, sim_pool *pool, int64_t low, int64_t high) {
    ASSERT(0 < low && low <= high);
    *book = (sim_book){.pool = pool, .low = low, .high = high};
    size_t prices = (size_t)(high - low + 1);
    book->levels = mem_alloc(prices * sizeof *book->levels);
    for (size_t i = 0; i < prices; i++) {
        book->levels[i] = (sim_level){.first = SIM_NO_SLOT, .last = SIM_NO_SLOT};
    }
    for (int side = 0; side < 2; side++) {
        book->occupied[side] = mem_zalloc(words_of(book) * sizeof(uint64_t));
        book->best[side] = SIM_NO_PRICE;
    }
}

void sim_book_deinit(sim_book *book) {
    free(book->levels);
    free(book->occupied[SIM_BUY]);
    free(book->occupied[SIM_SELL]);
    free(book->live);
    *book = (sim_book){0};
}

static sim_level *level_at(const sim_book *book, int64_t price) {
    ASSERT(book->low <= price && price <= book->high);
    return &book->levels[price - book->low];
}

/* The highest occupied price <= `price`. */
static int64_t occupied_down(const sim_book *book, int side, int64_t price) {
    if (price < book->low) {
        return SIM_NO_PRICE;
    }
    uint64_t bit = (uint64_t)(price - book->low);
    size_t word = bit / 64;
    uint64_t bits = book->occupied[side][word] & (UINT64_MAX >> (63 - bit % 64));
    while (bits == 0) {
        if (word == 0) {
            return SIM_NO_PRICE;
        }
        bits = book->occupied[side][--word];
    }
    return book->low + (int64_t)(word * 64 + 63) - __builtin_clzll(bits);
}

/* The lowest occupied price >= `price`. */
static int64_t occupied_up(const sim_book *book, int side, int64_t price) {
    if (price > book->high) {
        return SIM_NO_PRICE;
    }
    uint64_t bit = (uint64_t)(price - book->low);
    size_t words = words_of(book);
    size_t word = bit / 64;
    uint64_t bits = book->occupied[side][word] & (UINT64_MAX << bit % 64);
    while (bits == 0) {
        if (++word == words) {
            return SIM_NO_PRICE;
        }
        bits = book->occupied[side][word];
    }
    return book->low + (int64_t)(word * 64) + __builtin_ctzll(bits);
}

int64_t sim_book_behind(const sim_book *book, int side, int64_t price) {
    return side == SIM_BUY ? occupied_down(book, side, price - 1)
                           : occupied_up(book, side, price + 1);
}

int64_t sim_book_volume(const sim_book *book, int64_t price) {
    return level_at(book, price)->volume;
}

uint32_t sim_book_first(const sim_book *book, int side) {
    return book->best[side] == SIM_NO_PRICE ? SIM_NO_SLOT : level_at(book, book->best[side])->first;
}

static uint32_t slot_acquire(sim_pool *pool) {
    if (pool->free_slot != SIM_NO_SLOT) {
        uint32_t slot = pool->free_slot;
        pool->free_slot = pool->orders[slot].after;
        return slot;
    }
    if (pool->used == pool->capacity) {
        ASSERT(pool->capacity < SIM_NO_SLOT / 2);
        pool->capacity = pool->capacity == 0 ? 1024 : 2 * pool->capacity;
        pool->orders = mem_realloc(pool->orders, pool->capacity * sizeof *pool->orders);
    }
    return pool->used++;
}

static void slot_release(sim_pool *pool, uint32_t slot) {
    pool->orders[slot] = (sim_order){.after = pool->free_slot};
    pool->free_slot = slot;
}

static void live_add(sim_book *book, uint32_t slot) {
    if (book->live_count == book->live_capacity) {
        book->live_capacity = book->live_capacity == 0 ? 256 : 2 * book->live_capacity;
        book->live = mem_realloc(book->live, book->live_capacity * sizeof *book->live);
    }
    book->pool->orders[slot].live_index = book->live_count;
    book->live[book->live_count++] = slot;
}

static void live_remove(sim_book *book, uint32_t slot) {
    uint32_t index = book->pool->orders[slot].live_index;
    uint32_t moved = book->live[--book->live_count];
    book->live[index] = moved;
    book->pool->orders[moved].live_index = index;
}

uint32_t sim_book_add(sim_book *book, const sim_order *order) {
    int side = order->side;
    int64_t facing = book->best[1 - side];
    ASSERT(facing == SIM_NO_PRICE ||
           (side == SIM_BUY ? order->price < facing : order->price > facing)); /* B3 */
    uint32_t slot = slot_acquire(book->pool);
    sim_order *orders = book->pool->orders;
    sim_level *level = level_at(book, order->price);
    orders[slot] = *order;
    orders[slot].before = level->last;
    orders[slot].after = SIM_NO_SLOT;
    if (level->last == SIM_NO_SLOT) {
        uint64_t bit = (uint64_t)(order->price - book->low);
        book->occupied[side][bit / 64] |= UINT64_C(1) << bit % 64;
        level->first = slot;
        int64_t best = book->best[side];
        if (best == SIM_NO_PRICE || (side == SIM_BUY ? order->price > best : order->price < best)) {
            book->best[side] = order->price;
        }
    } else {
        orders[level->last].after = slot;
    }
    level->last = slot;
    level->volume += order->volume - order->filled;
    live_add(book, slot);
    return slot;
}

void sim_book_reduce(sim_book *book, uint32_t slot, int64_t lots) {
    sim_order *order = &book->pool->orders[slot];
    ASSERT(0 < lots && lots < order->volume - order->filled);
    order->filled += lots;
    level_at(book, order->price)->volume -= lots;
}

void sim_book_remove(sim_book *book, uint32_t slot) {
    sim_order *orders = book->pool->orders;
    const sim_order *order = &orders[slot];
    ASSERT(order->number != 0);
    int side = order->side;
    sim_level *level = level_at(book, order->price);
    level->volume -= order->volume - order->filled;
    if (order->before == SIM_NO_SLOT) {
        level->first = order->after;
    } else {
        orders[order->before].after = order->after;
    }
    if (order->after == SIM_NO_SLOT) {
        level->last = order->before;
    } else {
        orders[order->after].before = order->before;
    }
    if (level->first == SIM_NO_SLOT) {
        ASSERT(level->volume == 0); /* B1 */
        uint64_t bit = (uint64_t)(order->price - book->low);
        book->occupied[side][bit / 64] &= ~(UINT64_C(1) << bit % 64);
        if (book->best[side] == order->price) {
            book->best[side] = sim_book_behind(book, side, order->price);
        }
    }
    live_remove(book, slot);
    slot_release(book->pool, slot);
}
