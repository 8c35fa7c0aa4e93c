/* Receiving hosts and injecting clients, talking to each other: each is the other's test. */
#include "../unit/test.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "sim.h"
#include "sim_client.h"
#include "sim_mx.h"

#define MESSAGES 12

struct scene {
    struct sim *sim;
    struct sim_farm *farm;
    struct sim_mx *mx;
    struct sim_client *client;
    uint32_t finals, rcpts;
};

static struct address address(const char *text)
{
    struct address out = {0};
    CHECK(address_parse_port(bytes_from_string(text), &out) ||
          address_parse(bytes_from_string(text), &out));
    return out;
}

static void on_final(void *owner, const struct sim_mx_record *record)
{
    ((struct scene *)owner)->finals++;
}

static void on_rcpt(void *owner, const struct sim_mx_record *record, uint32_t index)
{
    ((struct scene *)owner)->rcpts++;
}

static void scene_open(struct scene *scene, uint64_t seed, bool calm)
{
    struct address at = address("198.51.100.25:25"), from = address("203.0.113.9");
    *scene = (struct scene){0};
    scene->sim = sim_create(&(struct sim_options){.seed = seed, .calm = calm});
    scene->farm = sim_farm_create(scene->sim);
    scene->mx = sim_mx_create(scene->farm, "mx.example", &at);
    scene->client = sim_client_create(scene->sim, &from, &at);
    sim_farm_watch(scene->farm, on_final, on_rcpt, scene);
}

static void scene_close(struct scene *scene)
{
    sim_client_destroy(scene->client);
    sim_farm_destroy(scene->farm);
    sim_destroy(scene->sim);
}

static void add_messages(struct scene *scene, int count)
{
    for (int i = 0; i < count; i++) {
        char token[20], rcpt[60];
        snprintf(token, sizeof(token), "m%d", i);
        size_t len = sim_spread(scene->sim, 10, 20000);
        struct sim_injection *one = sim_client_add(scene->client, token, "b.example", "", len);
        for (int j = 0; j <= i % 3; j++) {
            snprintf(rcpt, sizeof(rcpt), "user%d.%d@example.com", i, j);
            sim_injection_add_rcpt(one, rcpt);
        }
    }
}

static bool finished(void *owner)
{
    return sim_client_finished(((struct scene *)owner)->client);
}

static void run(struct scene *scene)
{
    sim_client_start(scene->client, 1);
    CHECK(sim_run_until(scene->sim, 200 * SIM_HOUR, finished, scene));
}

/* The record of a message whose end was answered with this code, or NULL. */
static const struct sim_mx_record *find(struct scene *scene, const char *token, uint16_t code)
{
    const struct sim_mx_record *record = NULL;
    while ((record = sim_farm_next(scene->farm, record)) != NULL) {
        if (strcmp(record->token, token) == 0 && record->final_code == code) {
            return record;
        }
    }
    return NULL;
}

static bool took(const struct sim_mx_record *record, const char *rcpt)
{
    for (uint32_t i = 0; i < record->rcpt_count; i++) {
        if (record->rcpts[i].code == 250 && strcmp(record->rcpts[i].address, rcpt) == 0) {
            return true;
        }
    }
    return false;
}

static void check_offer(struct scene *scene, const struct sim_injection *one, uint32_t number)
{
    char token[SIM_CLIENT_TOKEN_MAX];
    const struct sim_offer *offer = &one->offers[number];
    sim_offer_token(one, number, token);
    const struct sim_mx_record *record = find(scene, token, 250);
    CHECK(record != NULL || offer->fate != SIM_ACCEPTED);
    CHECK(record == NULL || offer->fate != SIM_REFUSED);
    if (record == NULL || offer->fate != SIM_ACCEPTED) {
        return;
    }
    CHECK(record->body_digest == one->body_digest);
    CHECK_INT(record->body_len, one->body_len);
    for (uint32_t i = 0; i < one->rcpt_count; i++) {
        CHECK((offer->accepted & 1u << i) == 0 || took(record, one->rcpts[i]));
    }
}

static void check_promises(struct scene *scene)
{
    struct sim_injection *one = NULL;
    while ((one = sim_client_next(scene->client, one)) != NULL) {
        for (uint32_t i = 0; i < one->tries; i++) {
            check_offer(scene, one, i);
        }
    }
}

TEST(well_behaved_ends_pass_every_message_once)
{
    for (int pipelined = 0; pipelined < 2; pipelined++) {
        struct scene scene;
        scene_open(&scene, 5, true);
        sim_client_manners(scene.client)->pipelined = pipelined ? 1000000 : 0;
        add_messages(&scene, MESSAGES);
        run(&scene);
        int records = 0;
        const struct sim_mx_record *record = NULL;
        while ((record = sim_farm_next(scene.farm, record)) != NULL) {
            CHECK_INT(record->final_code, 250);
            CHECK_STRING(record->helo, "client.sim.example");
            records++;
        }
        CHECK_INT(records, MESSAGES);
        CHECK_INT(scene.finals, MESSAGES);
        CHECK_INT(scene.rcpts, MESSAGES * 2);
        check_promises(&scene);
        CHECK(sim_farm_violation(scene.farm) == NULL);
        sim_run_for(scene.sim, SIM_HOUR);
        CHECK_INT(sim_farm_sessions(scene.farm), 0);
        CHECK_INT(sim_connections(scene.sim), 0);
        scene_close(&scene);
    }
}

/* A client that does not wait to be asked. */
static void on_rude_opened(struct sim_peer *peer, int result)
{
    static const char hasty[] = "EHLO a\r\nMAIL FROM:<a@b.example>\r\n";
    sim_peer_send(peer, hasty, sizeof(hasty) - 1);
}

static void on_rude_data(struct sim_peer *peer, const char *data, size_t len)
{
}

static void on_rude_ended(struct sim_peer *peer, int result)
{
    sim_peer_close(peer);
}

TEST(sending_before_the_greeting_is_a_violation_and_asking_first_is_none)
{
    struct scene scene;
    struct sim_peer rude = {.opened = on_rude_opened, .data = on_rude_data, .ended = on_rude_ended};
    struct address at = address("198.51.100.25:25"), from = address("203.0.113.9");
    scene_open(&scene, 6, true);
    sim_mx_manners(scene.mx)->extensions = 0;
    sim_client_manners(scene.client)->pipelined = 1000000;
    add_messages(&scene, 1);
    run(&scene);
    CHECK(sim_farm_violation(scene.farm) == NULL);
    sim_peer_connect(scene.sim, &rude, &from, &at, NULL);
    sim_run_for(scene.sim, SIM_SECOND);
    CHECK(sim_farm_violation(scene.farm) != NULL);
    sim_peer_close(&rude);
    scene_close(&scene);
}

TEST(a_greylisting_host_takes_everything_in_the_end)
{
    struct scene scene;
    scene_open(&scene, 7, true);
    sim_mx_manners(scene.mx)->greylist = 1000000;
    sim_client_manners(scene.client)->dawdles = 1000000;
    sim_client_manners(scene.client)->pipelined = 0;
    add_messages(&scene, 3);
    run(&scene);
    check_promises(&scene);
    CHECK(sim_client_next(scene.client, NULL)->fate == SIM_ACCEPTED);
    struct sim_injection *first = sim_client_next(scene.client, NULL);
    CHECK(first->tries > 1);
    CHECK_INT(first->fate, SIM_ACCEPTED);
    scene_close(&scene);
}

TEST(the_same_recipients_are_rejected_every_time)
{
    struct scene scene;
    scene_open(&scene, 8, true);
    sim_mx_manners(scene.mx)->reject_rcpt = 500000;
    for (int i = 0; i < 20; i++) {
        char token[20];
        snprintf(token, sizeof(token), "m%d", i);
        struct sim_injection *one = sim_client_add(scene.client, token, "b.example", "", 10);
        sim_injection_add_rcpt(one, i % 2 == 0 ? "one@example.com" : "two@example.com");
        sim_injection_add_rcpt(one, "three@example.com");
    }
    run(&scene);
    int taken[3] = {0}, tried = 0;
    const struct sim_mx_record *record = NULL;
    while ((record = sim_farm_next(scene.farm, record)) != NULL) {
        taken[0] += took(record, "one@example.com");
        taken[1] += took(record, "two@example.com");
        taken[2] += took(record, "three@example.com");
        tried++;
    }
    CHECK_INT(tried, 20);
    CHECK(taken[0] == 0 || taken[0] == 10);
    CHECK(taken[1] == 0 || taken[1] == 10);
    CHECK(taken[2] == 0 || taken[2] == 20);
    scene_close(&scene);
}

TEST(a_withheld_reply_leaves_the_fate_unknown)
{
    struct scene scene;
    scene_open(&scene, 9, true);
    sim_mx_manners(scene.mx)->withhold = 1000000;
    add_messages(&scene, 2);
    run(&scene);
    CHECK_INT(sim_client_next(scene.client, NULL)->fate, SIM_UNKNOWN);
    CHECK(find(&scene, "m0.t00", 0) != NULL);
    scene_close(&scene);
}

static uint32_t fates[SIM_UNKNOWN + 1]; /* over all rough worlds */

static uint64_t rough_world(uint64_t seed, bool honest)
{
    struct scene scene;
    scene_open(&scene, seed, false);
    sim_mx_draw_manners(scene.mx);
    sim_client_draw_manners(scene.client);
    struct sim_mx_manners *manners = sim_mx_manners(scene.mx);
    if (honest) {
        manners->lie_code = manners->lie_extra = manners->lie_garbage = manners->break_tls = 0;
    } else { /* a client of this kind is no match for a liar: it is only kept from crashing */
        manners->lie_extra = 0;
        manners->lie_garbage = 10000;
    }
    manners->no_ehlo = false;
    add_messages(&scene, MESSAGES);
    run(&scene);
    if (honest) {
        check_promises(&scene);
        CHECK(sim_farm_violation(scene.farm) == NULL);
    }
    struct sim_injection *one = NULL;
    while ((one = sim_client_next(scene.client, one)) != NULL) {
        fates[one->fate]++;
    }
    uint64_t digest = sim_digest(scene.sim);
    scene_close(&scene);
    return digest;
}

TEST(rough_worlds_keep_their_promises_and_repeat_themselves)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        bool honest = seed % 5 != 0;
        uint64_t first = rough_world(seed, honest);
        CHECK(rough_world(seed, honest) == first);
    }
    CHECK_INT(fates[SIM_WAITING], 0);
    CHECK(fates[SIM_ACCEPTED] > 1000); /* of 3,600 */
    CHECK(fates[SIM_REFUSED] > 100);
    CHECK(fates[SIM_UNKNOWN] > 50);
}
