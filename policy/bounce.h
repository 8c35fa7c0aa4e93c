/* Bounce categories: what kind of failure a reply was, for accounting and list hygiene.
 *
 * Pure. Decided by the enhanced status code, and by the SMTP code where there is none; an
 * operator's own patterns on the text come before this where they are configured. */
#ifndef POLICY_BOUNCE_H
#define POLICY_BOUNCE_H

struct reply;

struct bounce_verdict {
    const char *category; /* "bad-mailbox", … one of the 17 names */
    const char *class;    /* hard, soft, block, technical, expired */
};

struct bounce_verdict bounce_classify(const struct reply *reply);

#endif
