/* The simulated disk: files whose content and names are each held twice, as the running system
 * sees them and as they would be found after a power loss.
 *
 * Knows nothing of io_ops (sim_file.c does). A write changes what the system sees; it is found
 * again for certain only after a sync that began after it. At a power loss every unsynced sector
 * is kept, lost or torn, and every change of a name that was not followed by a sync of its
 * directory is kept or lost, as the seed says. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "sim.h"

#define SIM_SECTOR_BYTES  512u
#define SIM_FILE_MAX      (UINT64_C(1) << 30) /* bytes */
#define SIM_DISK_PATH_MAX 512

struct sim_disk;

struct sim_content {
    uint8_t *bytes;
    uint64_t size, capacity;
};

struct sim_inode {
    struct sim_disk *disk;
    uint64_t number;
    uint32_t references; /* open files, names seen, names durable, changes pending */
    uint32_t opens;
    bool is_directory, locked;
    bool full; /* it lies on a volume without room */
    struct sim_content live, durable;
    uint32_t *versions; /* per sector: 0 = as on the platter, else grows with each write */
    uint32_t *dirty;    /* the sectors whose version is not 0 */
    uint32_t version, sector_capacity, dirty_count;
    bool size_dirty;
};

/* ---- for tests and worlds --------------------------------------------------------------- */

void sim_disk_set_quota(struct sim *sim, uint64_t bytes_max);
uint64_t sim_disk_used(const struct sim *sim);

/* The files in this directory lie on a volume of their own, and that has no room: none of them
 * grows until told otherwise. One directory at a time; NULL: there is room again. The path must
 * stay where it is. */
void sim_disk_fill(struct sim *sim, const char *directory);

/* From now on every write (EIO) or sync fails, until told otherwise. */
void sim_disk_break(struct sim *sim, bool writes, bool syncs);

/* The bytes of a file as the system sees them, or NULL; valid until something is written. */
const uint8_t *sim_disk_peek(struct sim *sim, const char *path, uint64_t *size_out);

/* Everything counts as synced, as after an orderly unmount. */
void sim_disk_settle(struct sim *sim);

/* ---- for sim_file.c --------------------------------------------------------------------- */

struct sim_inode *disk_find(struct sim_disk *disk, const char *path);
/* A new file or directory at a free path; -ENOENT without its directory. */
int disk_create(struct sim_disk *disk, const char *path, bool directory, struct sim_inode **out);
int disk_rename(struct sim_disk *disk, const char *from, const char *to);
int disk_unlink(struct sim_disk *disk, const char *path);
/* 0, -ENOENT or -ENOTDIR. */
int disk_is_directory(struct sim_disk *disk, const char *path);
int disk_sync_directory(struct sim_disk *disk, const char *path);
/* The first name in `directory` that sorts after `after` ("" = all), or NULL. */
const char *disk_next_name(struct sim_disk *disk, const char *directory, const char *after);

void inode_ref(struct sim_inode *inode);
void inode_unref(struct sim_inode *inode);

/* Count or -errno; a short read is the end of the file. */
int64_t inode_read(struct sim_inode *inode, void *data, uint64_t len, uint64_t offset);
/* All or -errno (ENOSPC, EIO, EFBIG). */
int inode_write(struct sim_inode *inode, const void *data, uint64_t len, uint64_t offset);
int inode_truncate(struct sim_inode *inode, uint64_t size);

/* What a sync of these bytes that begins now will have made durable when it ends; the size of the
 * file is part of it. Owned by the caller until inode_sync_end or inode_sync_drop. */
struct sim_snapshot;
struct sim_snapshot *inode_sync_begin(struct sim_inode *inode, uint64_t offset, uint64_t len);
/* 0, or -EIO: then any part of it reached the platter and the rest never will, though it is not
 * dirty any more: a second sync reports success, as on Linux. */
int inode_sync_end(struct sim_inode *inode, struct sim_snapshot *snapshot);
void inode_sync_drop(struct sim_snapshot *snapshot); /* NULL is accepted */

uint64_t disk_space_free(const struct sim_disk *disk);

/* How long things take on this disk, drawn. */
uint64_t disk_read_us(struct sim_disk *disk);
uint64_t disk_write_us(struct sim_disk *disk);
uint64_t disk_sync_us(struct sim_disk *disk);

#endif
