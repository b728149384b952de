/* The backend of the example app "mirror": draws the outlines of the frames that it gets (Sobel's operator).
 *
 * One TCP connection per device; frames go there and back on it, one at a time. All numbers big-endian.
 *   frame:   "SFM1", u32 number, u16 width, u16 height, then width * height bytes of grey
 *   answer:  u32 number, u16 width, u16 height, u64 arrived, u64 begun, u64 done, then as many bytes
 * arrived, begun, done: when the whole frame was here, its turn came, and its answer was ready to go; microseconds
 * of this machine's own clock. A frame of 0 x 0 is answered at once: devices compare clocks by it. Outlines are
 * drawn for one device at a time, as by a machine with one accelerator; that wait is what a busy backend costs.
 *
 * Nothing that devices send is trusted: sizes are bounded, silence ends a connection, memory is fixed per device. */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 8080, MOST_DEVICES = 8, MOST_BYTES = 1280 * 720, SILENCE_SECONDS = 60, WORK_MOST = 64 };

struct frame { char magic[4]; uint32_t number; uint16_t width, height; } __attribute__((packed));
struct answer { uint32_t number; uint16_t width, height; uint64_t arrived, begun, done; } __attribute__((packed));

static pthread_mutex_t accelerator = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static int devices;
static int work = 1; /* how often an outline is drawn: an app with more to do is stood in for by WORK=n */

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static int receive(int peer, void *into, size_t size) {
    for (char *at = into; size;) {
        ssize_t got = recv(peer, at, size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        at += got;
        size -= (size_t)got;
    }
    return 1;
}

static int give(int peer, const void *from, size_t size, int flags) {
    for (const char *at = from; size;) {
        ssize_t sent = send(peer, at, size, MSG_NOSIGNAL | flags);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return 0;
        at += sent;
        size -= (size_t)sent;
    }
    return 1;
}

static void outline(const uint8_t *in, uint8_t *out, int width, int height) {
    memset(out, 0, (size_t)width * (size_t)height);
    for (int y = 1; y < height - 1; y++) {
        const uint8_t *a = in + (y - 1) * width, *b = a + width, *c = b + width;
        for (int x = 1; x < width - 1; x++) {
            int across = a[x + 1] + 2 * b[x + 1] + c[x + 1] - a[x - 1] - 2 * b[x - 1] - c[x - 1];
            int down = c[x - 1] + 2 * c[x] + c[x + 1] - a[x - 1] - 2 * a[x] - a[x + 1];
            int edge = abs(across) + abs(down);
            out[y * width + x] = (uint8_t)(edge > 255 ? 255 : edge);
        }
    }
}

static void serve(int peer, uint8_t *in, uint8_t *out) {
    struct frame frame;
    while (receive(peer, &frame, sizeof frame)) {
        int width = ntohs(frame.width), height = ntohs(frame.height);
        size_t size = (size_t)width * (size_t)height;
        if (memcmp(frame.magic, "SFM1", 4) || size > MOST_BYTES || !receive(peer, in, size)) return;
        uint64_t arrived = now(), begun = arrived;
        if (size) {
            pthread_mutex_lock(&accelerator);
            begun = now();
            for (int turn = 0; turn < work; turn++) outline(in, out, width, height);
            pthread_mutex_unlock(&accelerator);
        }
        struct answer answer = {frame.number, frame.width, frame.height,
                                htobe64(arrived), htobe64(begun), htobe64(now())};
        if (!give(peer, &answer, sizeof answer, size ? MSG_MORE : 0) || !give(peer, out, size, 0)) return;
    }
}

static void *device(void *argument) {
    int peer = (int)(intptr_t)argument;
    uint8_t *in = malloc(MOST_BYTES), *out = malloc(MOST_BYTES);
    if (in && out) serve(peer, in, out);
    free(in);
    free(out);
    close(peer);
    pthread_mutex_lock(&guard);
    devices--;
    pthread_mutex_unlock(&guard);
    return NULL;
}

static void welcome(int peer) {
    struct timeval silence = {SILENCE_SECONDS, 0};
    int one = 1;
    pthread_t thread;
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence);
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_mutex_lock(&guard);
    int taken = devices < MOST_DEVICES && !pthread_create(&thread, NULL, device, (void *)(intptr_t)peer);
    if (taken) devices++;
    pthread_mutex_unlock(&guard);
    if (taken) pthread_detach(thread);
    else close(peer);
}

static void end(int number) {
    (void)number;
    _exit(0);
}

int main(void) {
    struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_port = htons(PORT), .sin6_addr = in6addr_any};
    const char *more = getenv("WORK");
    int one = 1, zero = 0, listening = socket(AF_INET6, SOCK_STREAM, 0);
    if (more && atoi(more) >= 1 && atoi(more) <= WORK_MOST) work = atoi(more);
    if (listening < 0) { /* a machine without IPv6 */
        struct sockaddr_in plain = {.sin_family = AF_INET, .sin_port = htons(PORT)};
        listening = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(listening, (struct sockaddr *)&plain, sizeof plain)) return perror("mirror: bind"), 1;
    } else {
        setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(listening, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
        if (bind(listening, (struct sockaddr *)&here, sizeof here)) return perror("mirror: bind"), 1;
    }
    if (listen(listening, MOST_DEVICES)) return perror("mirror: listen"), 1;
    signal(SIGTERM, end); /* the first process of a container is not ended by default */
    signal(SIGINT, end);
    for (;;) {
        int peer = accept(listening, NULL, NULL);
        if (peer >= 0) welcome(peer);
        else if (errno != EINTR && errno != ECONNABORTED) usleep(100000); /* such as out of descriptors */
    }
}
