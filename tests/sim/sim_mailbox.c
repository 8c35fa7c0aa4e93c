/* A worker's sleep and its doorbell.
 *
 * The loop calls mailbox_sleep, io_run, mailbox_awake. Here io_run returns where the kernel's
 * would go on sleeping, so the call that takes the doorbell off its hook is put off to the
 * worker's next turn: letters posted meanwhile ring it, as they would. Linked by --wrap. */
#include "io/mailbox.h"
#include "sim_parts.h"

void __real_mailbox_awake(struct mailboxes *mailboxes, uint32_t worker);
void __wrap_mailbox_awake(struct mailboxes *mailboxes, uint32_t worker);

static void awake(void *mailboxes, uint32_t worker)
{
    __real_mailbox_awake(mailboxes, worker);
}

void __wrap_mailbox_awake(struct mailboxes *mailboxes, uint32_t worker)
{
    struct sim *sim = sim_current();
    if (sim == NULL || sim->running == NULL) {
        __real_mailbox_awake(mailboxes, worker);
        return;
    }
    sim->running->before_turn = awake;
    sim->running->before_owner = mailboxes;
    sim->running->before_index = worker;
}
