/* The names on the simulated disk, and what a power loss makes of them.
 *
 * Paths are one sorted list: a disk here has a few hundred files. Changes of names are kept in
 * order until a sync of the directory makes them durable. */
#include "sim_disk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim_inode.h"
#include "sim_parts.h"

#define SLOW_FACTOR 300

struct sim_disk *sim_disk_create(struct sim *sim, uint64_t bytes_max)
{
    struct sim_disk *disk = sim_take(sizeof(*disk));
    disk->sim = sim;
    disk->bytes_max = bytes_max;
    list_init(&disk->names);
    list_init(&disk->changes);
    disk->read_us = sim_spread(sim, 5, 500);
    disk->write_us = sim_spread(sim, 5, 500);
    disk->sync_us = sim_spread(sim, 100, 20 * SIM_MS);
    disk->names_in_order = sim_chance(sim, 500000);
    return disk;
}

static void assign(struct sim_inode **place, struct sim_inode *inode)
{
    if (inode != NULL) {
        inode_ref(inode);
    }
    if (*place != NULL) {
        inode_unref(*place);
    }
    *place = inode;
}

static void change_free(struct sim_change *change)
{
    for (uint32_t i = 0; i < change->count; i++) {
        assign(&change->inodes[i], NULL);
    }
    list_remove(&change->node);
    sim_give(change);
}

void sim_disk_destroy(struct sim_disk *disk)
{
    while (!list_empty(&disk->changes)) {
        change_free(CONTAINER_OF(list_first(&disk->changes), struct sim_change, node));
    }
    struct list_node *node = NULL;
    while ((node = list_pop_front(&disk->names)) != NULL) {
        struct sim_name *name = CONTAINER_OF(node, struct sim_name, node);
        assign(&name->live, NULL);
        assign(&name->durable, NULL);
        sim_give(name);
    }
    assert(disk->bytes_used == 0);
    sim_give(disk);
}

/* ---- names ------------------------------------------------------------------------------ */

/* "a//b/" and "a/b" are the same file; the root is "". */
static void normalize(const char *path, char out[SIM_DISK_PATH_MAX])
{
    size_t len = 0;
    for (const char *c = path; *c != '\0'; c++) {
        if (*c == '/' && len > 0 && out[len - 1] == '/') {
            continue;
        }
        assert(len + 1 < SIM_DISK_PATH_MAX);
        out[len++] = *c;
    }
    if (len > 0 && out[len - 1] == '/') {
        len--;
    }
    out[len] = '\0';
}

/* The length of the part before the last slash; 0: the root or the working directory. */
static size_t parent_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path);
}

static bool is_in(const char *path, const char *directory)
{
    size_t len = parent_len(path);
    return strlen(directory) == len && memcmp(path, directory, len) == 0;
}

static struct sim_name *name_find(struct sim_disk *disk, const char *path, bool create)
{
    struct list_node *after = &disk->names.head;
    for (struct list_node *n = list_first(&disk->names); n != NULL;
         n = list_next(&disk->names, n)) {
        struct sim_name *name = CONTAINER_OF(n, struct sim_name, node);
        int order = strcmp(name->path, path);
        if (order == 0) {
            return name;
        }
        if (order > 0) {
            break;
        }
        after = n;
    }
    if (!create) {
        return NULL;
    }
    struct sim_name *name = sim_take(sizeof(*name));
    memcpy(name->path, path, strlen(path) + 1);
    list_insert_after(after, &name->node);
    return name;
}

struct sim_inode *disk_find(struct sim_disk *disk, const char *path)
{
    char clean[SIM_DISK_PATH_MAX];
    normalize(path, clean);
    struct sim_name *name = name_find(disk, clean, false);
    return name == NULL ? NULL : name->live;
}

/* The root and the working directory are always there. */
static bool parent_exists(struct sim_disk *disk, const char *path)
{
    char parent[SIM_DISK_PATH_MAX];
    size_t len = parent_len(path);
    if (len == 0) {
        return true;
    }
    memcpy(parent, path, len);
    parent[len] = '\0';
    struct sim_name *name = name_find(disk, parent, false);
    return name != NULL && name->live != NULL && name->live->is_directory;
}

static void change_add(struct sim_change *change, struct sim_name *name, struct sim_inode *inode)
{
    assign(&name->live, inode);
    change->names[change->count] = name;
    change->inodes[change->count] = NULL;
    assign(&change->inodes[change->count], inode);
    change->count++;
}

static struct sim_change *change_begin(struct sim_disk *disk)
{
    struct sim_change *change = sim_take(sizeof(*change));
    list_push_back(&disk->changes, &change->node);
    return change;
}

static void change_apply(struct sim_change *change)
{
    for (uint32_t i = 0; i < change->count; i++) {
        assign(&change->names[i]->durable, change->inodes[i]);
    }
    change_free(change);
}

static bool lies_on_full(const struct sim_disk *disk, const char *path)
{
    return disk->full_directory != NULL && is_in(path, disk->full_directory);
}

int disk_create(struct sim_disk *disk, const char *path, bool directory, struct sim_inode **out)
{
    char clean[SIM_DISK_PATH_MAX];
    normalize(path, clean);
    if (!parent_exists(disk, clean)) {
        return -ENOENT;
    }
    struct sim_name *name = name_find(disk, clean, true);
    assert(name->live == NULL);
    struct sim_inode *inode = inode_create(disk, directory);
    inode->full = lies_on_full(disk, clean);
    change_add(change_begin(disk), name, inode);
    if (out != NULL) {
        *out = inode;
    }
    return 0;
}

int disk_rename(struct sim_disk *disk, const char *from, const char *to)
{
    char clean_from[SIM_DISK_PATH_MAX], clean_to[SIM_DISK_PATH_MAX];
    normalize(from, clean_from);
    normalize(to, clean_to);
    struct sim_name *source = name_find(disk, clean_from, false);
    if (source == NULL || source->live == NULL || !parent_exists(disk, clean_to)) {
        return -ENOENT;
    }
    assert(!source->live->is_directory); /* nobody renames one here */
    struct sim_name *target = name_find(disk, clean_to, true);
    if (target == source) {
        return 0;
    }
    struct sim_inode *inode = source->live;
    struct sim_change *change = change_begin(disk);
    inode_ref(inode);
    change_add(change, target, inode);
    change_add(change, source, NULL);
    inode_unref(inode);
    return 0;
}

int disk_unlink(struct sim_disk *disk, const char *path)
{
    char clean[SIM_DISK_PATH_MAX];
    normalize(path, clean);
    struct sim_name *name = name_find(disk, clean, false);
    if (name == NULL || name->live == NULL) {
        return -ENOENT;
    }
    if (name->live->is_directory) {
        return -EISDIR;
    }
    change_add(change_begin(disk), name, NULL);
    return 0;
}

int disk_is_directory(struct sim_disk *disk, const char *path)
{
    char clean[SIM_DISK_PATH_MAX];
    normalize(path, clean);
    const struct sim_inode *inode = disk_find(disk, clean);
    if (clean[0] == '\0' || (inode != NULL && inode->is_directory)) {
        return 0;
    }
    return inode == NULL ? -ENOENT : -ENOTDIR;
}

int disk_sync_directory(struct sim_disk *disk, const char *path)
{
    char clean[SIM_DISK_PATH_MAX];
    normalize(path, clean);
    int result = disk_is_directory(disk, clean);
    if (result != 0) {
        return result;
    }
    if (sim_chance(disk->sim, disk->sim->odds.sync_fails) || disk->syncs_broken) {
        return -EIO;
    }
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&disk->changes); n != NULL; n = next) {
        struct sim_change *change = CONTAINER_OF(n, struct sim_change, node);
        next = list_next(&disk->changes, n);
        if (is_in(change->names[0]->path, clean)) { /* of a rename: where it went */
            change_apply(change);
        }
    }
    return 0;
}

const char *disk_next_name(struct sim_disk *disk, const char *directory, const char *after)
{
    char clean[SIM_DISK_PATH_MAX];
    normalize(directory, clean);
    for (struct list_node *n = list_first(&disk->names); n != NULL;
         n = list_next(&disk->names, n)) {
        struct sim_name *name = CONTAINER_OF(n, struct sim_name, node);
        if (name->live == NULL || !is_in(name->path, clean)) {
            continue;
        }
        const char *last = strrchr(name->path, '/');
        last = last == NULL ? name->path : last + 1;
        if (strcmp(last, after) > 0) {
            return last;
        }
    }
    return NULL;
}

/* ---- power loss ------------------------------------------------------------------------- */

static void names_power_loss(struct sim_disk *disk)
{
    bool cut = false; /* of a journal: nothing after the first lost change survives */
    while (!list_empty(&disk->changes)) {
        struct sim_change *change =
            CONTAINER_OF(list_first(&disk->changes), struct sim_change, node);
        bool lost = sim_chance(disk->sim, 300000);
        cut = cut || (lost && disk->names_in_order);
        if (lost || cut) {
            change_free(change);
        } else {
            change_apply(change);
        }
    }
    for (struct list_node *n = list_first(&disk->names); n != NULL;
         n = list_next(&disk->names, n)) {
        struct sim_name *name = CONTAINER_OF(n, struct sim_name, node);
        assign(&name->live, name->durable);
    }
    /* What lies in a directory that was lost is lost; sorted, so parents come first. */
    for (struct list_node *n = list_first(&disk->names); n != NULL;
         n = list_next(&disk->names, n)) {
        struct sim_name *name = CONTAINER_OF(n, struct sim_name, node);
        if (name->live != NULL && !parent_exists(disk, name->path)) {
            assign(&name->live, NULL);
            assign(&name->durable, NULL);
        }
    }
}

static void each_inode(struct sim_disk *disk, void (*visit)(struct sim_inode *inode))
{
    for (struct list_node *n = list_first(&disk->names); n != NULL;
         n = list_next(&disk->names, n)) {
        struct sim_name *name = CONTAINER_OF(n, struct sim_name, node);
        if (name->live != NULL) {
            visit(name->live);
        }
    }
}

/* Writes under way may be done in part: from the front, as the page cache is filled. */
static void writes_half_done(struct sim_disk *disk)
{
    struct sim *sim = disk->sim;
    for (struct list_node *n = list_first(&sim->ios); n != NULL; n = list_next(&sim->ios, n)) {
        struct io *io = CONTAINER_OF(n, struct io, node);
        for (struct list_node *m = list_first(&io->in_flight); m != NULL;
             m = list_next(&io->in_flight, m)) {
            struct sim_op *op = CONTAINER_OF(m, struct sim_op, node);
            if (op->kind == SIM_OP_WRITE && op->state != SIM_OP_READY) {
                sim_file_write_part(op, sim_between(sim, 0, op->file.len));
            }
        }
    }
}

void sim_disk_crash(struct sim_disk *disk, enum sim_crash kind)
{
    writes_half_done(disk);
    sim_files_close(disk->sim);
    if (kind == SIM_POWER) {
        names_power_loss(disk);
        each_inode(disk, inode_power_loss);
    }
}

/* ---- for tests and worlds --------------------------------------------------------------- */

uint64_t disk_space_free(const struct sim_disk *disk)
{
    return disk->bytes_used >= disk->bytes_max ? 0 : disk->bytes_max - disk->bytes_used;
}

void sim_disk_set_quota(struct sim *sim, uint64_t bytes_max)
{
    sim->disk->bytes_max = bytes_max;
}

uint64_t sim_disk_used(const struct sim *sim)
{
    return sim->disk->bytes_used;
}

void sim_disk_fill(struct sim *sim, const char *directory)
{
    struct sim_disk *disk = sim->disk;
    disk->full_directory = directory;
    for (struct list_node *n = list_first(&disk->names); n != NULL;
         n = list_next(&disk->names, n)) {
        struct sim_name *name = CONTAINER_OF(n, struct sim_name, node);
        if (name->live != NULL) {
            name->live->full = lies_on_full(disk, name->path);
        }
    }
}

void sim_disk_break(struct sim *sim, bool writes, bool syncs)
{
    sim->disk->writes_broken = writes;
    sim->disk->syncs_broken = syncs;
}

const uint8_t *sim_disk_peek(struct sim *sim, const char *path, uint64_t *size_out)
{
    const struct sim_inode *inode = disk_find(sim->disk, path);
    if (inode == NULL) {
        return NULL;
    }
    *size_out = inode->live.size;
    return inode->live.bytes == NULL ? (const uint8_t *)"" : inode->live.bytes;
}

void sim_disk_settle(struct sim *sim)
{
    struct sim_disk *disk = sim->disk;
    while (!list_empty(&disk->changes)) {
        change_apply(CONTAINER_OF(list_first(&disk->changes), struct sim_change, node));
    }
    each_inode(disk, inode_settle);
}

static uint64_t duration_us(struct sim_disk *disk, uint64_t typical)
{
    struct sim *sim = disk->sim;
    uint64_t us = sim_spread(sim, 1 + typical / 4, 4 * typical);
    return sim_chance(sim, sim->odds.disk_slow) ? us * SLOW_FACTOR : us;
}

uint64_t disk_read_us(struct sim_disk *disk)
{
    return duration_us(disk, disk->read_us);
}

uint64_t disk_write_us(struct sim_disk *disk)
{
    return duration_us(disk, disk->write_us);
}

uint64_t disk_sync_us(struct sim_disk *disk)
{
    return duration_us(disk, disk->sync_us);
}
