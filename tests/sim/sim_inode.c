/* The content of a file, seen and durable, and the sectors in which they differ.
 *
 * A sector's version grows with each write; a sync remembers sectors with content and version as
 * it begins, and at its end a sector whose version has not moved is clean. */
#include "sim_inode.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim_parts.h"

struct sector_copy {
    uint32_t sector, version;
    uint8_t bytes[SIM_SECTOR_BYTES];
};

struct sim_snapshot {
    uint64_t size;
    uint32_t count;
    struct sector_copy copies[];
};

static const uint8_t zeroes[SIM_SECTOR_BYTES];

struct sim_inode *inode_create(struct sim_disk *disk, bool directory)
{
    struct sim_inode *inode = sim_take(sizeof(*inode));
    inode->disk = disk;
    inode->number = ++disk->next_number;
    inode->is_directory = directory;
    return inode;
}

void inode_ref(struct sim_inode *inode)
{
    inode->references++;
}

void inode_unref(struct sim_inode *inode)
{
    assert(inode->references > 0);
    if (--inode->references > 0) {
        return;
    }
    inode->disk->bytes_used -= inode->live.size;
    sim_give(inode->live.bytes);
    sim_give(inode->durable.bytes);
    sim_give(inode->versions);
    sim_give(inode->dirty);
    sim_give(inode);
}

/* ---- content ---------------------------------------------------------------------------- */

static void content_resize(struct sim_content *content, uint64_t size)
{
    if (size > content->capacity) {
        uint64_t capacity = size + size / 2 + SIM_SECTOR_BYTES;
        content->bytes = sim_grow(content->bytes, content->capacity, capacity);
        content->capacity = capacity;
    }
    if (size < content->size) {
        memset(content->bytes + size, 0, content->size - size); /* grown again, it reads zero */
    }
    content->size = size;
}

/* At most one sector of `from`, zeroes behind its end. */
static void sector_get(const struct sim_content *from, uint32_t sector, uint8_t *out)
{
    uint64_t offset = (uint64_t)sector * SIM_SECTOR_BYTES;
    memcpy(out, zeroes, SIM_SECTOR_BYTES);
    if (offset < from->size) {
        uint64_t left = from->size - offset;
        memcpy(out, from->bytes + offset, left < SIM_SECTOR_BYTES ? left : SIM_SECTOR_BYTES);
    }
}

/* Puts `len` bytes at a sector's begin, as far as the content reaches after growing to `limit`. */
static void sector_put(struct sim_content *to, uint32_t sector, const uint8_t *bytes, uint64_t len,
                       uint64_t limit)
{
    uint64_t offset = (uint64_t)sector * SIM_SECTOR_BYTES;
    if (offset >= limit) {
        return;
    }
    uint64_t end = offset + len < limit ? offset + len : limit;
    if (end > to->size) {
        content_resize(to, end);
    }
    memcpy(to->bytes + offset, bytes, end - offset);
}

static void sectors_ensure(struct sim_inode *inode, uint32_t count)
{
    if (count <= inode->sector_capacity) {
        return;
    }
    uint32_t capacity = count + count / 2 + 8;
    inode->versions = sim_grow(inode->versions, inode->sector_capacity * sizeof(uint32_t),
                               capacity * sizeof(uint32_t));
    inode->dirty = sim_grow(inode->dirty, inode->sector_capacity * sizeof(uint32_t),
                            capacity * sizeof(uint32_t));
    inode->sector_capacity = capacity;
}

static void mark_dirty(struct sim_inode *inode, uint64_t offset, uint64_t len)
{
    if (len == 0) {
        return;
    }
    uint32_t first = (uint32_t)(offset / SIM_SECTOR_BYTES);
    uint32_t last = (uint32_t)((offset + len - 1) / SIM_SECTOR_BYTES);
    sectors_ensure(inode, last + 1);
    inode->version++;
    for (uint32_t sector = first; sector <= last; sector++) {
        if (inode->versions[sector] == 0) {
            inode->dirty[inode->dirty_count++] = sector;
        }
        inode->versions[sector] = inode->version;
    }
}

/* Takes the sectors that have become clean (version 0) out of the list. */
static void sweep_dirty(struct sim_inode *inode)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < inode->dirty_count; i++) {
        if (inode->versions[inode->dirty[i]] != 0) {
            inode->dirty[kept++] = inode->dirty[i];
        }
    }
    inode->dirty_count = kept;
}

int64_t inode_read(struct sim_inode *inode, void *data, uint64_t len, uint64_t offset)
{
    struct sim *sim = inode->disk->sim;
    if (sim_chance(sim, sim->odds.read_fails)) {
        return -EIO;
    }
    if (offset >= inode->live.size) {
        return 0;
    }
    uint64_t left = inode->live.size - offset;
    uint64_t count = len < left ? len : left;
    if (count > 0) { /* a read of nothing may name no memory */
        memcpy(data, inode->live.bytes + offset, count);
    }
    return (int64_t)count;
}

static int write_fault(struct sim_disk *disk)
{
    struct sim *sim = disk->sim;
    if (sim_chance(sim, sim->odds.write_fails) || disk->writes_broken) {
        return -EIO;
    }
    return sim_chance(sim, sim->odds.write_full) ? -ENOSPC : 0;
}

/* The kernel may write back at any time what nobody has synced. */
static void write_back_early(struct sim_inode *inode, uint64_t offset, uint64_t len)
{
    uint8_t sector_bytes[SIM_SECTOR_BYTES];
    struct sim *sim = inode->disk->sim;
    if (len == 0 || !sim_chance(sim, sim->odds.write_back)) {
        return;
    }
    uint64_t first = offset / SIM_SECTOR_BYTES, last = (offset + len - 1) / SIM_SECTOR_BYTES;
    uint32_t sector = (uint32_t)sim_between(sim, first, last);
    sector_get(&inode->live, sector, sector_bytes);
    sector_put(&inode->durable, sector, sector_bytes, SIM_SECTOR_BYTES, inode->live.size);
}

int inode_write(struct sim_inode *inode, const void *data, uint64_t len, uint64_t offset)
{
    struct sim_disk *disk = inode->disk;
    int fault = write_fault(disk);
    if (fault != 0) {
        return fault;
    }
    if (offset + len > SIM_FILE_MAX) {
        return -EFBIG;
    }
    uint64_t end = offset + len;
    if (end > inode->live.size && len > 0) {
        uint64_t growth = end - inode->live.size;
        if (inode->full || growth > disk_space_free(disk)) {
            return -ENOSPC;
        }
        disk->bytes_used += growth;
        mark_dirty(inode, inode->live.size, growth);
        content_resize(&inode->live, end);
        inode->size_dirty = true;
    }
    if (len > 0) {
        memcpy(inode->live.bytes + offset, data, len);
    }
    mark_dirty(inode, offset, len);
    write_back_early(inode, offset, len);
    return 0;
}

int inode_truncate(struct sim_inode *inode, uint64_t size)
{
    struct sim_disk *disk = inode->disk;
    int fault = write_fault(disk);
    if (fault != 0) {
        return fault;
    }
    if (size > SIM_FILE_MAX) {
        return -EFBIG;
    }
    uint64_t old = inode->live.size;
    if (size > old && (inode->full || size - old > disk_space_free(disk))) {
        return -ENOSPC;
    }
    disk->bytes_used = disk->bytes_used - old + size;
    if (size > old) {
        mark_dirty(inode, old, size - old);
    }
    content_resize(&inode->live, size);
    inode->size_dirty = true;
    uint32_t sectors = (uint32_t)((size + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES);
    for (uint32_t sector = sectors; sector < inode->sector_capacity; sector++) {
        inode->versions[sector] = 0;
    }
    sweep_dirty(inode);
    return 0;
}

/* ---- sync ------------------------------------------------------------------------------- */

struct sim_snapshot *inode_sync_begin(struct sim_inode *inode, uint64_t offset, uint64_t len)
{
    uint64_t last = len == 0 ? 0 : (offset + len - 1) / SIM_SECTOR_BYTES;
    struct sim_snapshot *snapshot =
        sim_take(sizeof(*snapshot) + inode->dirty_count * sizeof(struct sector_copy));
    snapshot->size = inode->live.size;
    snapshot->count = 0;
    for (uint32_t i = 0; len > 0 && i < inode->dirty_count; i++) {
        uint32_t sector = inode->dirty[i];
        if (sector < offset / SIM_SECTOR_BYTES || sector > last) {
            continue;
        }
        struct sector_copy *copy = &snapshot->copies[snapshot->count++];
        copy->sector = sector;
        copy->version = inode->versions[sector];
        sector_get(&inode->live, sector, copy->bytes);
    }
    return snapshot;
}

void inode_sync_drop(struct sim_snapshot *snapshot)
{
    sim_give(snapshot);
}

/* A failed sync: each sector may have been written; it is clean in any case, and what the system
 * sees of a lost one is its old content as soon as the page is evicted. */
static void lose_sector(struct sim_inode *inode, const struct sector_copy *copy, bool evict)
{
    uint8_t old[SIM_SECTOR_BYTES];
    struct sim *sim = inode->disk->sim;
    if (sim_chance(sim, 500000)) {
        sector_put(&inode->durable, copy->sector, copy->bytes, SIM_SECTOR_BYTES, inode->live.size);
    } else if (evict && inode->versions[copy->sector] == copy->version) {
        sector_get(&inode->durable, copy->sector, old);
        sector_put(&inode->live, copy->sector, old, SIM_SECTOR_BYTES, inode->live.size);
    }
    if (inode->versions[copy->sector] == copy->version) {
        inode->versions[copy->sector] = 0;
    }
}

int inode_sync_end(struct sim_inode *inode, struct sim_snapshot *snapshot)
{
    struct sim_disk *disk = inode->disk;
    bool fails = sim_chance(disk->sim, disk->sim->odds.sync_fails) || disk->syncs_broken;
    if (fails) {
        bool evict = sim_chance(disk->sim, 500000);
        for (uint32_t i = 0; i < snapshot->count; i++) {
            lose_sector(inode, &snapshot->copies[i], evict);
        }
    } else {
        content_resize(&inode->durable, snapshot->size);
        for (uint32_t i = 0; i < snapshot->count; i++) {
            const struct sector_copy *copy = &snapshot->copies[i];
            sector_put(&inode->durable, copy->sector, copy->bytes, SIM_SECTOR_BYTES,
                       snapshot->size);
            if (inode->versions[copy->sector] == copy->version) {
                inode->versions[copy->sector] = 0;
            }
        }
        inode->size_dirty = inode->size_dirty && inode->live.size != snapshot->size;
    }
    sweep_dirty(inode);
    inode_sync_drop(snapshot);
    return fails ? -EIO : 0;
}

void inode_settle(struct sim_inode *inode)
{
    content_resize(&inode->durable, inode->live.size);
    if (inode->live.size > 0) {
        memcpy(inode->durable.bytes, inode->live.bytes, inode->live.size);
    }
    for (uint32_t i = 0; i < inode->dirty_count; i++) {
        inode->versions[inode->dirty[i]] = 0;
    }
    inode->dirty_count = 0;
    inode->size_dirty = false;
}

/* ---- power loss ------------------------------------------------------------------------- */

static void sector_fate(struct sim_inode *inode, uint32_t sector)
{
    uint8_t bytes[SIM_SECTOR_BYTES];
    struct sim *sim = inode->disk->sim;
    uint64_t fate = sim_between(sim, 0, 3);
    if (fate == 0) {
        return; /* lost */
    }
    /* Torn: its first bytes are new, the rest is as it was. */
    uint64_t len = fate == 1 ? sim_between(sim, 1, SIM_SECTOR_BYTES - 1) : SIM_SECTOR_BYTES;
    sector_get(&inode->live, sector, bytes);
    sector_put(&inode->durable, sector, bytes, len, inode->live.size);
}

void inode_power_loss(struct sim_inode *inode)
{
    struct sim *sim = inode->disk->sim;
    for (uint32_t i = 0; i < inode->dirty_count; i++) {
        sector_fate(inode, inode->dirty[i]);
    }
    if (inode->size_dirty && sim_chance(sim, 500000)) {
        content_resize(&inode->durable, inode->live.size);
    }
    inode->disk->bytes_used += inode->durable.size - inode->live.size;
    content_resize(&inode->live, inode->durable.size);
    if (inode->live.size > 0) {
        memcpy(inode->live.bytes, inode->durable.bytes, inode->live.size);
    }
    inode_settle(inode);
}
