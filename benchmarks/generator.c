/* The load that wrk cannot make: connections that each keep to a browser's head, requests that leave at set times
   whether or not earlier ones were answered, and a number of requests that are each sent once. It is in C so that it
   is never the slower side: a schedule that its sender cannot keep measures the sender.

   generator.py compiles it, starts it, and writes a plan to its standard input:

       PORT STATUS SECONDS RATE IDLE NUMBERS CLIENTS
       then for each client      EXCHANGES
       and for each of these     ANSWER-BYTES REQUEST-BYTES, the end of the line, and the request

   RATE 0 is as fast as it is answered; NUMBERS -1 is requests as they stand. It

   1. connects, has each connection ask once, so that no accepting is in what is measured, and says `ready`;
   2. begins at the next line of input;
   3. prints one line of JSON: requests answered, percentiles in seconds, and what it used itself.

   Every answer has to begin with the status line and to have the length that is expected; the first one that does not
   ends the run: the reason goes to standard error, and the exit code is 1. */

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NANO 1000000000LL
#define MILLI 1000000LL
#define PATIENCE 10 /* seconds without any answer */
#define MARK "{number}"
#define DIGITS "%010lld"
#define BATCH 256 /* events taken from the kernel at a time */
#ifndef PORTS_OF_AN_ADDRESS
#define PORTS_OF_AN_ADDRESS 20000U /* connections from one address: Linux lends out 28,000 ports for each */
#endif

typedef struct {
    char *request;
    size_t length, answer; /* bytes, heads included */
} Exchange;

typedef struct {
    Exchange *exchanges;
    size_t count;
} Client;

typedef struct {
    int socket;
    const Client *client;
    size_t turn;     /* which of the client's exchanges is next */
    size_t expected; /* bytes of the answer under way; 0 if there is none */
    size_t got;
    int64_t since; /* when the request under way was due or, without a schedule, sent; of a free one, when it became so */
} Connection;

/* Durations in nanoseconds, in buckets 1/128 wide or less: what is read from it is less than 1 % off. */
#define STEPS 128
typedef struct {
    uint64_t buckets[64 * STEPS];
    uint64_t count;
} Histogram;

static struct {
    unsigned port, idle, clients;
    double seconds, rate, drain;
    long long numbers;
    char status[32];
    size_t status_length;
} plan;

static Client *clients;
static Connection *connections, *idle;
static int epoll;
static int no_wait; /* MSG_DONTWAIT once it has begun */
static long long number;
static Histogram latencies, lateness;
static int64_t spun; /* nanoseconds of asking for events when there was nothing to do */
static uint64_t unanswered;
static char buffer[256 * 1024];

_Noreturn static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * NANO + time.tv_nsec;
}

static int64_t now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

/* Histograms */

static void record(Histogram *histogram, int64_t nanoseconds)
{
    uint64_t value = nanoseconds > 0 ? (uint64_t)nanoseconds : 0;
    unsigned shift = value < 2 * STEPS ? 0 : 63 - 7 - (unsigned)__builtin_clzll(value);
    histogram->buckets[shift * STEPS + (value >> shift)]++;
    histogram->count++;
}

/* Seconds: the smallest recorded that at least `share` of all do not exceed; 0 if there are none. */
static double percentile(const Histogram *histogram, double share)
{
    uint64_t rank = (uint64_t)ceil(share * (double)histogram->count), seen = 0;
    for (size_t bucket = 0; bucket < 64 * STEPS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen && seen >= rank) {
            unsigned shift = bucket < 2 * STEPS ? 0 : (unsigned)(bucket / STEPS - 1);
            uint64_t from = (uint64_t)(bucket - shift * STEPS) << shift;
            return ((double)from + (double)(1ULL << shift) / 2) / NANO;
        }
    }
    return 0;
}

/* 1. The plan, and the connections */

static void read_plan(void)
{
    unsigned status;
    if (scanf("%u %u %lf %lf %lf %u %lld %u", &plan.port, &status, &plan.seconds, &plan.rate, &plan.drain, &plan.idle,
              &plan.numbers, &plan.clients) != 8)
        fail("the plan's first line is not as it should be");
    plan.status_length = (size_t)snprintf(plan.status, sizeof plan.status, "HTTP/1.1 %u ", status);
    clients = allocate(plan.clients, sizeof *clients);
    for (Client *client = clients; client < clients + plan.clients; client++) {
        if (scanf("%zu", &client->count) != 1 || !client->count)
            fail("a client has no exchanges");
        client->exchanges = allocate(client->count, sizeof *client->exchanges);
        for (Exchange *one = client->exchanges; one < client->exchanges + client->count; one++) {
            if (scanf("%zu %zu", &one->answer, &one->length) != 2 || getchar() != '\n')
                fail("an exchange is not as it should be");
            one->request = allocate(one->length, 1);
            if (fread(one->request, 1, one->length, stdin) != one->length || one->length > sizeof buffer / 2)
                fail("a request ends early, or is too long");
        }
    }
}

/* Opens it. `index` counts all connections. */
static void open_connection(Connection *connection, const Client *client, unsigned index)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE};
    int yes = 1;

    connection->client = client;
    connection->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->socket < 0)
        fail("connection %u: %s", index + 1, strerror(errno));
    setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(connection->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(connection->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (index >= PORTS_OF_AN_ADDRESS) {
        struct sockaddr_in own = address;
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / PORTS_OF_AN_ADDRESS);
        setsockopt(connection->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
        if (bind(connection->socket, (struct sockaddr *)&own, sizeof own))
            fail("connection %u: %s", index + 1, strerror(errno));
    }
    address.sin_port = htons((uint16_t)plan.port);
    if (connect(connection->socket, (struct sockaddr *)&address, sizeof address))
        fail("connection %u: %s", index + 1, strerror(errno));
}

/* One exchange */

/* The next request: its length, with `*request` at its bytes. */
static size_t next_request(Connection *connection, const char **request)
{
    static char numbered[sizeof buffer];
    const Exchange *one;

    if (plan.numbers < 0) {
        one = &connection->client->exchanges[connection->turn];
        if (++connection->turn == connection->client->count)
            connection->turn = 0;
        connection->expected = one->answer;
        *request = one->request;
        return one->length;
    }
    one = &clients->exchanges[(size_t)number % clients->count];
    connection->expected = one->answer;
    *request = numbered;
    size_t length = 0;
    const char *from = one->request, *end = from + one->length;
    for (const char *mark; (mark = memmem(from, (size_t)(end - from), MARK, strlen(MARK))); from = mark + strlen(MARK)) {
        memcpy(numbered + length, from, (size_t)(mark - from));
        length += (size_t)(mark - from);
        length += (size_t)sprintf(numbered + length, DIGITS, number);
    }
    memcpy(numbered + length, from, (size_t)(end - from));
    number++;
    return length + (size_t)(end - from);
}

/* Sends the next request, whose latency counts from `since`. */
static void start(Connection *connection, int64_t since)
{
    const char *request;
    size_t length = next_request(connection, &request);
    connection->since = since;
    ssize_t sent = send(connection->socket, request, length, MSG_NOSIGNAL | no_wait);
    if (sent < 0 && errno != EAGAIN)
        fail("the server closed a connection that was to be kept: %s", strerror(errno));
    if (sent != (ssize_t)length)
        fail("the server does not read");
}

/* Checks the bytes in `buffer`, which are the next of an answer. */
static void judge(Connection *connection, size_t length)
{
    if (!connection->expected)
        fail("the server sends what nobody has asked for: %.*s", (int)(length < 60 ? length : 60), buffer);
    if (connection->got < plan.status_length) {
        size_t left = plan.status_length - connection->got;
        if (memcmp(buffer, plan.status + connection->got, left < length ? left : length))
            fail("the answer begins with %.*s", (int)strcspn(buffer, "\r\n"), buffer);
    }
    connection->got += length;
    if (connection->got > connection->expected)
        fail("the answer has %zu bytes, not %zu", connection->got, connection->expected);
}

/* Reads what has come: whether that was the end of an answer. */
static bool receive(Connection *connection)
{
    while (!connection->expected || connection->got < connection->expected) {
        ssize_t length = recv(connection->socket, buffer, sizeof buffer - 1, no_wait);
        if (length < 0 && errno == EAGAIN && no_wait)
            return false;
        if (length < 0 && errno == EAGAIN)
            fail("no answer for %d s", PATIENCE);
        if (length <= 0 && connection->got)
            fail("the server closed after %zu of %zu bytes", connection->got, connection->expected);
        if (length <= 0)
            fail("the server closed a connection that was to be kept");
        buffer[length] = '\0';
        judge(connection, (size_t)length);
    }
    connection->got = connection->expected = 0;
    return true;
}

static void connect_all(void)
{
    connections = allocate(plan.clients, sizeof *connections);
    idle = allocate(plan.idle, sizeof *idle);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned index = 0; index < plan.clients; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[index]};
        open_connection(&connections[index], &clients[index], index);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connections[index].socket, &event))
            fail("epoll: %s", strerror(errno));
        if (plan.numbers < 0) { /* those that are sent once cannot be tried before */
            start(&connections[index], 0);
            receive(&connections[index]);
        }
    }
    for (unsigned index = 0; index < plan.idle; index++) {
        open_connection(&idle[index], clients, plan.clients + index);
        start(&idle[index], 0);
        receive(&idle[index]);
    }
    no_wait = MSG_DONTWAIT;
}

/* 2a. As fast as it is answered */

static int wait_for_events(struct epoll_event *events, int milliseconds)
{
    int count = epoll_wait(epoll, events, BATCH, milliseconds);
    if (count < 0 && errno != EINTR)
        fail("epoll: %s", strerror(errno));
    return count < 0 ? 0 : count;
}

static bool is_used_up(void)
{
    return plan.numbers >= 0 && number == plan.numbers;
}

static void run_closed(int64_t begun)
{
    struct epoll_event events[BATCH];
    int64_t end = begun + (int64_t)(plan.seconds * NANO);
    unsigned waiting = 0;

    for (; waiting < plan.clients && !is_used_up(); waiting++)
        start(&connections[waiting], now_ns());
    while (waiting) {
        int count = wait_for_events(events, PATIENCE * 1000);
        if (!count)
            fail("no answer for %d s", PATIENCE);
        for (int event = 0; event < count; event++) {
            Connection *connection = events[event].data.ptr;
            if (!receive(connection))
                continue;
            int64_t now = now_ns();
            record(&latencies, now - connection->since);
            if (now < end && !is_used_up())
                start(connection, now);
            else
                waiting--;
        }
    }
}

/* 2b. At set times */

static struct {
    int64_t due, end; /* of the next request, and of all */
    Connection **free;
    size_t first, count; /* of the free ones, a ring: the one that has been free for longest is next */
} schedule;

/* Nanoseconds to the next request: independent of each other, as visitors are (Poisson). The same in each run. */
static int64_t draw_gap(void)
{
    static unsigned short state[3] = {1};
    return llround(-log(1 - erand48(state)) / plan.rate * NANO);
}

static void set_free(Connection *connection, int64_t now)
{
    connection->since = now;
    schedule.free[(schedule.first + schedule.count++) % plan.clients] = connection;
}

/* Sends what is due, as far as connections are free. One that had to wait for a connection is late by the server's
   doing; how late it is beyond that is ours. */
static void send_due(int64_t now)
{
    while (schedule.count && schedule.due <= now && schedule.due < schedule.end) {
        Connection *connection = schedule.free[schedule.first];
        schedule.first = (schedule.first + 1) % plan.clients;
        schedule.count--;
        record(&lateness, now - (connection->since > schedule.due ? connection->since : schedule.due));
        start(connection, schedule.due);
        schedule.due += draw_gap();
        now = now_ns();
    }
}

/* What has no answer by the end counts with the time until then. */
static void give_up(int64_t now)
{
    for (Connection *connection = connections; connection < connections + plan.clients; connection++)
        if (connection->expected) {
            record(&latencies, now - connection->since);
            unanswered++;
        }
    for (; schedule.due < schedule.end; schedule.due += draw_gap()) {
        record(&latencies, now - schedule.due);
        unanswered++;
    }
}

static void run_open(int64_t begun)
{
    struct epoll_event events[BATCH];
    schedule.end = begun + (int64_t)(plan.seconds * NANO);
    int64_t last = schedule.end + (int64_t)(plan.drain * NANO);

    schedule.due = begun + draw_gap();
    schedule.free = allocate(plan.clients, sizeof *schedule.free);
    for (unsigned index = 0; index < plan.clients; index++)
        set_free(&connections[index], begun);
    for (;;) {
        int64_t now = now_ns();
        send_due(now);
        bool all_sent = schedule.due >= schedule.end;
        if (now >= last || (all_sent && schedule.count == plan.clients))
            break;
        /* A sleep ends when it ends: the last millisecond or two before a request is due are spent asking. */
        int64_t until = all_sent || !schedule.count ? last : schedule.due;
        int64_t sleep = (until - now) / MILLI - 1;
        int count = wait_for_events(events, sleep > 0 ? (int)sleep : 0);
        if (!count && sleep <= 0)
            spun += now_ns() - now;
        for (int event = 0; event < count; event++) {
            Connection *connection = events[event].data.ptr;
            if (receive(connection)) {
                now = now_ns();
                record(&latencies, now - connection->since);
                set_free(connection, now);
                send_due(now); /* between two answers, so that many of them delay no request */
            }
        }
    }
    give_up(now_ns());
}

/* An idle connection that the server has closed has cost it nothing. */
static void check_idle(void)
{
    for (Connection *connection = idle; connection < idle + plan.idle; connection++)
        if (recv(connection->socket, buffer, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
            fail("the server closed an idle connection, or sent more on it");
}

int main(void)
{
    char word[8];
    read_plan();
    connect_all();
    printf("ready\n");
    fflush(stdout);
    while (fgets(word, sizeof word, stdin) && !strchr(word, '\n'))
        ;
    int64_t used = read_clock(CLOCK_PROCESS_CPUTIME_ID), begun = now_ns();
    if (plan.rate > 0)
        run_open(begun);
    else
        run_closed(begun);
    double seconds = (double)(now_ns() - begun) / NANO;
    double busy = (double)(read_clock(CLOCK_PROCESS_CPUTIME_ID) - used - spun) / NANO / seconds;
    check_idle();
    /* 3. */
    printf("{\"requests\": %" PRIu64 ", \"seconds\": %.9f, \"p50\": %.9f, \"p99\": %.9f, \"p999\": %.9f, "
           "\"busy\": %.4f, \"late\": %.9f, \"unanswered\": %" PRIu64 "}\n",
           latencies.count - unanswered, seconds, percentile(&latencies, 0.5), percentile(&latencies, 0.99),
           percentile(&latencies, 0.999), busy > 0 ? busy : 0, percentile(&lateness, 0.99), unanswered);
    return 0;
}
