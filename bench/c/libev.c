/* libev */
#include "common.h"
#include <ev.h>

static struct ev_loop *loop;

/* ---- chain ---- */

static void on_ring(struct ev_loop *l, ev_io *w, int what) {
    (void)l, (void)what;
    ring_step((int)(intptr_t)w->data);
}

static void watch_ring(void) {
    ev_io *w = get((size_t)ring.n, sizeof *w);
    for (int i = 0; i < ring.n; i++) {
        ev_io_init(&w[i], on_ring, ring.r[i], EV_READ);
        w[i].data = (void *)(intptr_t)i;
        ev_io_start(loop, &w[i]);
    }
}

static void poll_once(void) { ev_run(loop, EVRUN_ONCE); }

/* ---- echo ---- */

struct client {
    ev_io io;
    struct conn *conn;
};

static void on_event(struct ev_loop *l, ev_io *w, int what);

static void watch(struct client *c, int what) {
    ev_io_stop(loop, &c->io);
    ev_io_set(&c->io, c->conn->fd, what);
    ev_io_start(loop, &c->io);
}

static void on_event(struct ev_loop *l, ev_io *w, int what) {
    (void)l, (void)what;
    struct client *c = (struct client *)w;
    switch (c->conn->rest ? echo_writable(c->conn) : echo_readable(c->conn)) {
    case AWAIT_READ: watch(c, EV_READ); break;
    case AWAIT_WRITE: watch(c, EV_WRITE); break;
    case HANG_UP:
        ev_io_stop(loop, &c->io);
        conn_free(c->conn);
        free(c);
    }
}

static void on_accept(struct ev_loop *l, ev_io *w, int what) {
    (void)l, (void)what;
    for (int fd; (fd = accept_one(w->fd)) >= 0;) {
        struct client *c = get(1, sizeof *c);
        c->conn = get(1, sizeof *c->conn);
        c->conn->fd = fd;
        ev_io_init(&c->io, on_event, fd, EV_READ);
        ev_io_start(loop, &c->io);
    }
}

static void serve(int port) {
    static ev_io ln;
    ev_io_init(&ln, on_accept, listen_on(port), EV_READ);
    ev_io_start(loop, &ln);
    ev_run(loop, 0);
}

/* ---- timers ---- */

static ev_timer *timers;

static void on_timer(struct ev_loop *l, ev_timer *w, int what) {
    (void)l, (void)w, (void)what;
    fired++;
}

static void timers_init(int n) {
    timers = get((size_t)n, sizeof *timers);
    for (int i = 0; i < n; i++) ev_timer_init(&timers[i], on_timer, 0, 0);
}

static void timer_add(int i, double s) {
    ev_timer_set(&timers[i], s, 0);
    ev_timer_start(loop, &timers[i]);
}

static void timer_cancel(int i) { ev_timer_stop(loop, &timers[i]); }

static void timers_due(void) { ev_run(loop, EVRUN_NOWAIT); }

/* ---- lateness ---- */

static double wait_for, due;
static ev_timer late;

static void rearm(void) {
    due = now() + wait_for;
    ev_timer_set(&late, wait_for, 0);
    ev_timer_start(loop, &late);
}

static void on_late(struct ev_loop *l, ev_timer *w, int what) {
    (void)w, (void)what;
    if (sample(now() - due)) rearm();
    else ev_break(l, EVBREAK_ALL);
}

static void lateness(double wait, int count, int is_busy) {
    samples_open(count);
    wait_for = wait;
    ev_timer_init(&late, on_late, 0, 0);
    if (is_busy) {
        busy_ring();
        watch_ring();
    }
    rearm();
    ev_run(loop, 0);
    samples_report();
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    loop = ev_default_loop(0);
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
        printf("libev %d.%d\n", ev_version_major(), ev_version_minor());
    } else {
        return 2;
    }
    return 0;
}
