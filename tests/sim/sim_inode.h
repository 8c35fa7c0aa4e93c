/* What sim_disk.c (names) and sim_inode.c (content) share. */
#ifndef SIM_INODE_H
#define SIM_INODE_H

#include "base/list.h"
#include "sim_disk.h"

/* One path, as seen and as durable; either may be NULL. */
struct sim_name {
    struct list_node node; /* in disk->names, sorted by path */
    struct sim_inode *live, *durable;
    char path[SIM_DISK_PATH_MAX];
};

/* A change of names not yet durable: one path, or two that change together (rename). */
struct sim_change {
    struct list_node node;
    struct sim_name *names[2];
    struct sim_inode *inodes[2]; /* what the name stands for afterwards; NULL: nothing */
    uint32_t count;
};

struct sim_disk {
    struct sim *sim;
    struct list names, changes;
    uint64_t bytes_max, bytes_used, next_number;
    uint64_t read_us, write_us, sync_us; /* typical, drawn once */
    bool writes_broken, syncs_broken;
    const char *full_directory; /* NULL: none */
    bool names_in_order; /* a journalling file system: what survives is a prefix of the changes */
};

struct sim_inode *inode_create(struct sim_disk *disk, bool directory);
void inode_settle(struct sim_inode *inode);
void inode_power_loss(struct sim_inode *inode);

#endif
