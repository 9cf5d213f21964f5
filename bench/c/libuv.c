/* libuv */
#include "common.h"
#include <uv.h>

static uv_loop_t *loop;

/* ---- chain ---- */

static void on_ring(uv_poll_t *p, int status, int what) {
    (void)status, (void)what;
    ring_step((int)(intptr_t)p->data);
}

static void watch_ring(void) {
    uv_poll_t *p = get((size_t)ring.n, sizeof *p);
    for (int i = 0; i < ring.n; i++) {
        if (uv_poll_init(loop, &p[i], ring.r[i])) die("uv_poll_init");
        p[i].data = (void *)(intptr_t)i;
        uv_poll_start(&p[i], UV_READABLE, on_ring);
    }
}

static void poll_once(void) { uv_run(loop, UV_RUN_ONCE); }

/* ---- echo: streams, the only way libuv reads; uv_try_write first, which needs no request ---- */

struct write {
    uv_write_t req;
    uv_buf_t buf;
};

static void on_closed(uv_handle_t *h) { free(h); }

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf) {
    static char shared[BUF];
    (void)h, (void)size;
    *buf = uv_buf_init(shared, sizeof shared);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *req, int status) {
    struct write *w = (struct write *)req;
    if (status == 0 && !uv_is_closing((uv_handle_t *)req->handle)) uv_read_start(req->handle, on_alloc, on_read);
    free(w->buf.base);
    free(w);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
    if (n == 0) return;
    if (n < 0) {
        uv_close((uv_handle_t *)s, on_closed);
        return;
    }
    uv_buf_t all = uv_buf_init(buf->base, (unsigned)n);
    int sent = uv_try_write(s, &all, 1);
    if (sent < 0) sent = 0;
    if (sent == n) return;

    struct write *w = get(1, sizeof *w);
    w->buf = uv_buf_init(get((size_t)(n - sent), 1), (unsigned)(n - sent));
    memcpy(w->buf.base, buf->base + sent, (size_t)(n - sent));
    uv_read_stop(s);
    uv_write(&w->req, s, &w->buf, 1, on_written);
}

static void on_connection(uv_stream_t *ln, int status) {
    if (status < 0) return;
    uv_tcp_t *c = get(1, sizeof *c);
    uv_tcp_init(loop, c);
    if (uv_accept(ln, (uv_stream_t *)c)) {
        uv_close((uv_handle_t *)c, on_closed);
        return;
    }
    uv_tcp_nodelay(c, 1);
    uv_read_start((uv_stream_t *)c, on_alloc, on_read);
}

static void serve(int port) {
    static uv_tcp_t ln;
    uv_tcp_init(loop, &ln);
    uv_tcp_open(&ln, listen_on(port));
    if (uv_listen((uv_stream_t *)&ln, 4096, on_connection)) die("uv_listen");
    uv_run(loop, UV_RUN_DEFAULT);
}

/* ---- timers ---- */

static uv_timer_t *timers;

static void on_timer(uv_timer_t *t) {
    (void)t;
    fired++;
}

static void timers_init(int n) {
    timers = get((size_t)n, sizeof *timers);
    for (int i = 0; i < n; i++) uv_timer_init(loop, &timers[i]);
}

/* Milliseconds are all there is, and are rounded up. */
static uint64_t milliseconds(double s) {
    uint64_t us = (uint64_t)(s * 1e6 + 0.5);
    return (us + 999) / 1000;
}

static void timer_add(int i, double s) { uv_timer_start(&timers[i], on_timer, milliseconds(s), 0); }

static void timer_cancel(int i) { uv_timer_stop(&timers[i]); }

static void timers_due(void) { uv_run(loop, UV_RUN_NOWAIT); }

/* ---- lateness ---- */

static double wait_for, due;
static uv_timer_t late;

static void on_late(uv_timer_t *t);

static void rearm(void) {
    due = now() + wait_for;
    uv_timer_start(&late, on_late, milliseconds(wait_for), 0);
}

static void on_late(uv_timer_t *t) {
    (void)t;
    if (sample(now() - due)) rearm();
    else uv_stop(loop);
}

static void lateness(double wait, int count, int is_busy) {
    samples_open(count);
    wait_for = wait;
    uv_timer_init(loop, &late);
    if (is_busy) {
        busy_ring();
        watch_ring();
    }
    rearm();
    uv_run(loop, UV_RUN_DEFAULT);
    samples_report();
}

/* ---- post: what a user builds on uv_async_send, a queue under a lock ---- */

static uv_async_t async;
static uv_mutex_t mu;
static long queued, capacity, taken, to_take;
static void (**queue)(void), (**batch)(void);

static void job(void) { taken++; }

static void on_posted(uv_async_t *a) {
    (void)a;
    uv_mutex_lock(&mu);
    void (**jobs)(void) = queue;
    long n = queued;
    queue = batch, batch = jobs, queued = 0;
    uv_mutex_unlock(&mu);
    for (long i = 0; i < n; i++) jobs[i]();
    if (taken >= to_take) uv_stop(loop);
}

static void poster(void *count) {
    for (long i = (long)(intptr_t)count; i > 0; i--) {
        uv_mutex_lock(&mu);
        queue[queued++] = job;
        uv_mutex_unlock(&mu);
        uv_async_send(&async);
    }
}

static void post(int posters, int count) {
    uv_thread_t *t = get((size_t)posters, sizeof *t);
    capacity = count, to_take = count / posters * posters;
    queue = get((size_t)capacity, sizeof *queue), batch = get((size_t)capacity, sizeof *batch);
    memset(queue, 1, (size_t)capacity * sizeof *queue); /* the page faults are not what is measured */
    memset(batch, 1, (size_t)capacity * sizeof *batch);
    uv_mutex_init(&mu);
    uv_async_init(loop, &async, on_posted);
    double start = now();
    for (int i = 0; i < posters; i++) uv_thread_create(&t[i], poster, (void *)(intptr_t)(count / posters));
    uv_run(loop, UV_RUN_DEFAULT);
    out("post", (now() - start) * 1e9 / (double)to_take, "ns");
    for (int i = 0; i < posters; i++) uv_thread_join(&t[i]);
}

/* ---- wake: from uv_async_send to its callback on a sleeping loop ---- */

static volatile double sent_at;

static void on_wake(uv_async_t *a) {
    (void)a;
    if (!sample(now() - sent_at)) uv_stop(loop);
}

static void waker(void *count) {
    struct timespec pause = {.tv_nsec = 300000};
    for (long i = (long)(intptr_t)count; i > 0; i--) {
        nanosleep(&pause, NULL);
        sent_at = now();
        uv_async_send(&async);
    }
}

static void wake(int count) {
    uv_thread_t t;
    samples_open(count);
    uv_async_init(loop, &async, on_wake);
    uv_thread_create(&t, waker, (void *)(intptr_t)(count + 100)); /* should two sends become one wake-up */
    uv_run(loop, UV_RUN_DEFAULT);
    samples_report();
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    loop = uv_default_loop();
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
    } else if (is(mode, "post")) {
        post(arg(argc, argv, 2), arg(argc, argv, 3));
    } else if (is(mode, "wake")) {
        wake(arg(argc, argv, 2));
    } else if (is(mode, "version")) {
        printf("libuv %s\n", uv_version_string());
    } else {
        return 2;
    }
    return 0;
}
