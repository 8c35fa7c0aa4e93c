/* Secrets in files of their own. */
#include "config_files.h"

#include "policy/domain.h"
#include "test.h"

#define CONF "<domain *>\nauth-password-file /etc/word\n</domain>\n"

static bool is_public;

static bool on_public(void *owner, const char *path)
{
    return is_public && strcmp(path, "/etc/word") == 0;
}

static struct config *load_word(const char *conf, const char *word, size_t len)
{
    struct memory_file files[] = {
        {"/etc/main.conf", conf, 0}, {"/etc/word", word, len}, {NULL, NULL, 0}};
    struct memory_files memory = {files};
    struct config_files how = {
        .owner = &memory, .read = memory_read, .glob = memory_glob, .is_public = on_public};
    config_report_deinit(&report);
    return config_load(files[0].path, &how, &report);
}

static struct bytes password(struct config *config, const char *domain)
{
    return config_domain(config, config_vmta(config, BYTES("{default}")), bytes_from_string(domain))
        ->auth_password;
}

TEST(the_only_line_of_a_file_is_the_password)
{
    static const char *const texts[] = {"hush # it\n", "hush # it", "hush # it\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct config *config = load_word(CONF, texts[i], 0);
        CHECK_INT(report.count, 0);
        CHECK(bytes_equal(password(config, "a.com"), BYTES("hush # it")));
        unload(config);
    }
}

TEST(the_nearer_block_says_the_password_whether_itself_or_by_a_file)
{
    struct config *config = load_word("<domain *>\nauth-password-file /etc/word\n</domain>\n"
                                      "<domain a.com>\nauth-password near\n</domain>\n",
                                      "far", 0);
    CHECK(bytes_equal(password(config, "a.com"), BYTES("near")));
    CHECK(bytes_equal(password(config, "b.com"), BYTES("far")));
    unload(config);
    config = load_word("<domain *>\nauth-password far\n</domain>\n"
                       "<domain a.com>\nauth-password-file /etc/word\n</domain>\n",
                       "near", 0);
    CHECK(bytes_equal(password(config, "a.com"), BYTES("near")));
    CHECK(bytes_equal(password(config, "b.com"), BYTES("far")));
    unload(config);
}

TEST(a_file_that_holds_no_password_is_an_error)
{
    static char endless[300];
    memset(endless, 'x', sizeof endless);
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {{"\n", 0}, {"two\nlines\n", 0}, {"a\0b", 3}, {endless, sizeof endless}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK(load_word(CONF, rows[i].text, rows[i].len) == NULL);
        CHECK(has_message("2:20: error: auth-password-file: /etc/word "));
        unload(NULL);
    }
}

TEST(a_file_that_is_not_there_is_an_error)
{
    CHECK(load("<domain *>\nauth-password-file /etc/word\n</domain>\n") == NULL);
    CHECK(has_message("2:20: error: auth-password-file: cannot read /etc/word: No such file"));
    unload(NULL);
}

TEST(a_file_that_everybody_may_read_is_an_error)
{
    is_public = true;
    CHECK(load_word(CONF, "hush", 0) == NULL);
    CHECK(has_message("2:20: error: auth-password-file: everybody may read or write /etc/word"));
    unload(NULL);
    is_public = false;
}

TEST(credentials_have_255_bytes_at_most)
{
    char conf[600], word[300];
    memset(word, 'x', 256);
    word[256] = '\0';
    snprintf(conf, sizeof conf, "<domain *>\nauth-username %s\n</domain>\n", word);
    CHECK(load(conf) == NULL);
    CHECK(has_message("2:15: error: auth-username: at most 255 bytes"));
    unload(NULL);
}
