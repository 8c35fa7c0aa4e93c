/* What stands in files of its own: passwords, certificates, keys. */
#include "config_files.h"
#include "pem_files.h"

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

/* ---- PEM files -------------------------------------------------------------------------- */

#define OURS "<domain *>\nsmtp-client-certificate /etc/word\n</domain>\n"
#define HUSH "<domain *>\nsmtp-client-certificate /etc/word hush\n</domain>\n"
#define CAS  "<domain *>\nsmtp-tls-ca-file /etc/word\n</domain>\n"

TEST(a_certificate_with_its_key_is_taken)
{
    static const char *const rows[][2] = {{OURS, PEM_CERTIFICATE PEM_KEY},
                                          {OURS, PEM_KEY PEM_CERTIFICATE PEM_CERTIFICATE},
                                          {HUSH, PEM_CERTIFICATE PEM_KEY_HUSH},
                                          {HUSH, PEM_CERTIFICATE PEM_KEY}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config *config = load_word(rows[i][0], rows[i][1], 0);
        CHECK(config != NULL);
        CHECK_INT(report.count, 0);
        unload(config);
    }
}

TEST(a_certificate_or_key_that_will_not_do_is_an_error_with_its_place)
{
    static const char *const rows[][3] = {
        {OURS, PEM_CERTIFICATE PEM_OTHER_KEY, "a private key that is not its first certificate's"},
        {OURS, PEM_CERTIFICATE, "no private key in PEM that can be read without a password"},
        {OURS, PEM_CERTIFICATE PEM_KEY_HUSH, "no private key in PEM that can be read without"},
        {OURS, PEM_KEY, "no certificate in PEM"},
        {OURS, "nothing", "no certificate in PEM"},
        {OURS,
         PEM_CERTIFICATE "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" PEM_KEY,
         "a certificate that cannot be read"},
        {"<domain *>\nsmtp-client-certificate /etc/word sesame\n</domain>\n",
         PEM_CERTIFICATE PEM_KEY_HUSH, "no private key in PEM that the password opens"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char wanted[200];
        snprintf(wanted, sizeof wanted, "2:25: error: smtp-client-certificate: /etc/word has %s",
                 rows[i][2]);
        CHECK(load_word(rows[i][0], rows[i][1], 0) == NULL);
        CHECK(has_message(wanted));
        unload(NULL);
    }
}

TEST(a_key_without_a_password_that_everybody_may_read_is_an_error)
{
    is_public = true;
    CHECK(load_word(OURS, PEM_CERTIFICATE PEM_KEY, 0) == NULL);
    CHECK(has_message("error: smtp-client-certificate: everybody may read or write /etc/word"));
    struct config *config = load_word(HUSH, PEM_CERTIFICATE PEM_KEY_HUSH, 0);
    CHECK(config != NULL);
    unload(config);
    is_public = false;
}

TEST(authorities_that_cannot_be_read_are_an_error_with_their_place)
{
    struct config *config = load_word(CAS, PEM_CERTIFICATE, 0);
    CHECK(config != NULL);
    unload(config);
    CHECK(load_word(CAS, "nothing", 0) == NULL);
    CHECK(has_message("2:18: error: smtp-tls-ca-file: /etc/word has no certificate in PEM"));
    unload(NULL);
    CHECK(load(CAS) == NULL);
    CHECK(has_message("2:18: error: smtp-tls-ca-file: cannot read /etc/word: No such file"));
    unload(NULL);
}
