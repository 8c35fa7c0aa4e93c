/* Loading, in steps: files into blocks of settings (load.c, load_line.c, load_block.c), macros
 * (macro.c), tables (build.c), checks across blocks (check.c). For those files only. */
#ifndef POLICY_LOAD_H
#define POLICY_LOAD_H

#include "policy/config_private.h"
#include "policy/syntax.h"
#include "policy/words.h"

#define LOAD_BLOCK_DEPTH_MAX 32       /* blocks inside blocks, nested pattern lists included */
#define LOAD_MACROS_MAX      10000    /* domain-macro names */
#define LOAD_MACRO_ITEMS_MAX 1000000  /* items of all of them */
#define LOAD_EXPANSION_MAX   200000   /* patterns out of one <domain $…> */
#define LOAD_DIRECTIVES_MAX  10000000 /* lines that hold something */

/* One item of a macro, as written; it may name other macros. */
struct macro_item {
    struct bytes text;
    struct place place;
    struct macro_item *next;
};

struct macro {
    struct map_entry entry;
    struct bytes name;
    struct place place;
    struct macro_item *first, **last;
    struct macro *next;  /* order of definition */
    int color;           /* of the search for loops */
    struct macro *below; /* on its stack */
    struct macro_item *next_item;
    size_t next_offset;
};

/* Files that one `include` named, or the first file; read one after the other. */
struct frame {
    struct string_array paths;
    size_t path_index;
    struct place from; /* the include line */
    bool is_defaults;  /* config_files.defaults, not a file */
    bool reading;
    struct syntax syntax;
    const char *file;   /* name for origins: lives with the configuration */
    char *text;         /* of malloc */
    size_t block_depth; /* open blocks when the file began */
};

struct loader {
    struct config *config;
    const struct config_files *files;
    struct config_report *report;
    struct frame frames[CONFIG_INCLUDE_DEPTH_MAX];
    size_t frame_count;
    struct block *open[LOAD_BLOCK_DEPTH_MAX]; /* innermost last; the first is the top level */
    size_t open_count;
    size_t file_count, byte_count, item_count;
    uint32_t order; /* of the line being read */
    struct syntax_line line;
    bool *warned;           /* per row of the directive table: its warning is given */
    uint64_t blocks_warned; /* the same per row of the block table */
    struct map macros;
    struct macro *first_macro, **last_macro;
    size_t pattern_count;
    bool failed; /* out of memory: reported, and nothing more is read */
    struct bytes checked_authorities, checked_certificate; /* the last files that were found good */
};

/* Where `at` (in the line being read) is. NULL: the line as a whole. */
struct place loader_place(const struct loader *loader, const char *at);
void loader_no_memory(struct loader *loader);

static inline struct block *loader_block(const struct loader *loader)
{
    return loader->open[loader->open_count - 1];
}

/* load_line.c: one directive line. */
void load_directive(struct loader *loader);

/* Says, once per name, that a directive has no effect (yet). */
void load_warn_effect(struct loader *loader, const struct directive *directive);

/* Parses and keeps one value of the block. `text` lies in the line being read, or stands for what
 * is at `at` in it. */
void load_setting(struct loader *loader, struct block *block, const struct directive *directive,
                  struct bytes text, const char *at);

/* Whether the text has a token of a deployment tool in it, as {{name}}: then that is reported. */
bool load_has_template_token(struct loader *loader, struct bytes text);

/* load_secret.c: auth-password-file, whose only line becomes the block's auth-password; and the PEM
 * files of smtp-client-certificate and smtp-tls-ca-file, which are looked at and kept by name. */
void load_password_file(struct loader *loader, struct block *block, const struct setting *setting);
void load_check_certificate(struct loader *loader, const struct setting *setting);
void load_check_authorities(struct loader *loader, const struct setting *setting);

/* The place of a new setting in the block: the last of a name counts. */
struct setting *load_keep(struct loader *loader, struct block *block,
                          const struct directive *directive, const union value *value,
                          const struct place *place);

/* load_block.c: tags. */
void load_open(struct loader *loader);
void load_close(struct loader *loader);
void load_close_file(struct loader *loader, size_t depth); /* reports what is still open */
struct block *load_push(struct loader *loader, const struct block_row *row, struct bytes argument);
void load_listener_line(struct loader *loader);
void load_spool_line(struct loader *loader);

/* load.c: pushes the files an include names. */
void load_include(struct loader *loader);

/* Relative paths start at the directory of the file that names them, `from`. data is NULL: no
 * memory. */
struct bytes load_resolve_path(struct loader *loader, const char *from, struct bytes path);

/* The whole file, counted among those of the configuration; *out is to be freed, whatever the
 * answer, and NULL on entry. False: reported at this place. */
bool load_read_file(struct loader *loader, struct bytes path, const struct place *place,
                    struct bytes *out);

/* header_file.c: what include-headers-from names. */
void load_header_files(struct loader *loader);

/* macro.c */
void macro_define(struct loader *loader);
void macro_check_loops(struct loader *loader);

/* Calls `take` for every pattern that the text stands for; one that has no `$` is passed on as it
 * is, with by_macro false. -1: reported. */
int macro_expand(struct loader *loader, struct bytes text, const struct place *place,
                 void (*take)(struct loader *loader, struct bytes pattern, bool by_macro, void *to),
                 void *to);

/* rules.c: one line of a list of rules; may open a nested list. */
void load_rule(struct loader *loader);

/* build.c: tables and indices; check.c: what concerns several blocks. */
void build_tables(struct loader *loader);
void check_config(struct loader *loader);

/* destination.c: notes whether there are rules; each leads somewhere. */
void check_destinations(struct loader *loader);

/* rollup.c: what <mx-rollup-list> says, once all settings are known. */
void load_rollups(struct loader *loader);

#endif
