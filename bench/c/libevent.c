/* libevent, by its events: its buffered layer costs more. */
#include "common.h"
#include <event2/event.h>

static struct event_base *base;

/* ---- chain ---- */

static void on_ring(int fd, short what, void *i) {
    (void)fd, (void)what;
    ring_step((int)(intptr_t)i);
}

static void watch_ring(void) {
    for (int i = 0; i < ring.n; i++) {
        struct event *ev = event_new(base, ring.r[i], EV_READ | EV_PERSIST, on_ring, (void *)(intptr_t)i);
        event_add(ev, NULL);
    }
}

static void poll_once(void) { event_base_loop(base, EVLOOP_ONCE); }

/* ---- echo ---- */

struct client {
    struct conn *conn;
    struct event *read, *write;
};

static void settle(struct client *c, int verdict) {
    switch (verdict) {
    case AWAIT_READ: event_del(c->write), event_add(c->read, NULL); break;
    case AWAIT_WRITE: event_del(c->read), event_add(c->write, NULL); break;
    case HANG_UP:
        event_free(c->read), event_free(c->write);
        conn_free(c->conn);
        free(c);
    }
}

static void on_readable(int fd, short what, void *p) {
    (void)fd, (void)what;
    settle(p, echo_readable(((struct client *)p)->conn));
}

static void on_writable(int fd, short what, void *p) {
    (void)fd, (void)what;
    settle(p, echo_writable(((struct client *)p)->conn));
}

static void on_accept(int ln, short what, void *p) {
    (void)what, (void)p;
    for (int fd; (fd = accept_one(ln)) >= 0;) {
        struct client *c = get(1, sizeof *c);
        c->conn = get(1, sizeof *c->conn);
        c->conn->fd = fd;
        c->read = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
        c->write = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
        event_add(c->read, NULL);
    }
}

static void serve(int port) {
    event_add(event_new(base, listen_on(port), EV_READ | EV_PERSIST, on_accept, NULL), NULL);
    event_base_dispatch(base);
}

/* ---- timers ---- */

static struct event **timers;

static void on_timer(int fd, short what, void *p) {
    (void)fd, (void)what, (void)p;
    fired++;
}

static void timers_init(int n) {
    timers = get((size_t)n, sizeof *timers);
    for (int i = 0; i < n; i++) timers[i] = evtimer_new(base, on_timer, NULL);
}

static struct timeval timeval(double s) {
    struct timeval tv = {.tv_sec = (time_t)s, .tv_usec = (suseconds_t)((s - (double)(time_t)s) * 1e6 + 0.5)};
    return tv;
}

static void timer_add(int i, double s) {
    struct timeval tv = timeval(s);
    event_add(timers[i], &tv);
}

static void timer_cancel(int i) { event_del(timers[i]); }

static void timers_due(void) { event_base_loop(base, EVLOOP_NONBLOCK); }

/* ---- lateness ---- */

static double wait_for, due;
static struct event *late;

static void rearm(void) {
    struct timeval tv = timeval(wait_for);
    due = now() + wait_for;
    event_add(late, &tv);
}

static void on_late(int fd, short what, void *p) {
    (void)fd, (void)what, (void)p;
    if (sample(now() - due)) rearm();
    else event_base_loopbreak(base);
}

static void lateness(double wait, int count, int is_busy) {
    samples_open(count);
    wait_for = wait;
    late = evtimer_new(base, on_late, NULL);
    if (is_busy) {
        busy_ring();
        watch_ring();
    }
    rearm();
    event_base_dispatch(base);
    samples_report();
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    base = event_base_new();
    if (is(mode, "chain")) {
        ring_open(arg(argc, argv, 2), arg(argc, argv, 3), arg(argc, argv, 4));
        watch_ring();
        chain_run(arg(argc, argv, 5), poll_once);
    } else if (is(mode, "echo")) {
        serve(arg(argc, argv, 2));
    } else if (is(mode, "timers")) {
        struct timer_api api = {timers_init, timer_add, timer_cancel, timers_due};
        timers_run(&api, arg(argc, argv, 2));
    } else if (is(mode, "lateness")) {
        lateness(arg(argc, argv, 2) / 1e6, arg(argc, argv, 3), argc > 4 && is(argv[4], "busy"));
    } else if (is(mode, "version")) {
        printf("libevent %s\n", event_get_version());
    } else {
        return 2;
    }
    return 0;
}
