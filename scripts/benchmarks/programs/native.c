/*
 * What the work of a gadget takes in C, without a gadget: ``native control|echo COUNT FOLDER DEPTH``.
 *
 * "control" answers COUNT requests that come through the FIFO FOLDER/ep0, each announced by an eventfd, as FunctionFS does;
 * the arguments after DEPTH are the command that sends them, to which the eventfd's number is added. "echo" reads
 * FOLDER/data COUNT times from its beginning, DEPTH reads in flight, and writes each to /dev/null. Both with an epoll
 * loop, and data by Linux AIO.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 4096
#define MOST 64
#define EVENT 12
#define ANSWER "answered"

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int check(int result, const char *what)
{
	if (result < 0) {
		if (result != -1)
			errno = -result;
		fail(what);
	}
	return result;
}

static int open_in(const char *folder, const char *name, int flags)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return check(open(path, flags | O_CLOEXEC), path);
}

/* An epoll descriptor that waits for this one. */
static int watch(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
	return epoll;
}

static void wait_for(int epoll, int eventfd)
{
	struct epoll_event event;
	uint64_t rings;
	check(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
	check(read(eventfd, &rings, sizeof(rings)), "eventfd");
}

static pid_t start(char **command, int count, int eventfd)
{
	char number[16];
	pid_t child;
	snprintf(number, sizeof(number), "%d", eventfd);
	command[count] = number;
	child = check(vfork(), "vfork");
	if (child == 0) {
		execv(command[0], command);
		_exit(127);
	}
	return child;
}

static void control(int requests, const char *folder, char **command, int count)
{
	int fifo = open_in(folder, "ep0", O_RDWR | O_NONBLOCK), news = check(eventfd(0, EFD_NONBLOCK), "eventfd");
	int epoll = watch(news), status;
	unsigned char event[4 * EVENT];
	pid_t child = start(command, count, news);
	while (requests--) {
		wait_for(epoll, news);
		if (read(fifo, event, sizeof(event)) != EVENT || event[1] != 1)
			fail("not the request");
		if (write(fifo, ANSWER, strlen(ANSWER)) < 0)
			fail("answer");
	}
	if (waitpid(child, &status, 0) != child || status)
		fail("the host");
}

struct transfer {
	struct iocb iocb;
	void *buffer;
	int writes;
};

static void echo(int count, const char *folder, int depth)
{
	static struct transfer transfers[MOST];
	static struct io_event events[MOST];
	static struct iocb *batch[MOST];
	io_context_t context = 0;
	int source = open_in(folder, "data", O_RDONLY | O_DIRECT), target = check(open("/dev/null", O_WRONLY), "null");
	int done = check(eventfd(0, EFD_NONBLOCK), "eventfd"), epoll = watch(done), batched = 0;
	check(io_setup(MOST, &context), "io_setup");
	for (int i = 0; i < depth; i++) {
		transfers[i].buffer = aligned_alloc(SIZE, SIZE);
		io_prep_pread(&transfers[i].iocb, source, transfers[i].buffer, SIZE, 0);
		io_set_eventfd(&transfers[i].iocb, done);
		batch[batched++] = &transfers[i].iocb;
	}
	while (count > 0) {
		check(io_submit(context, batched, batch), "io_submit");
		wait_for(epoll, done);
		batched = 0;
		int number = check(io_getevents(context, 0, MOST, events, NULL), "io_getevents");
		for (int i = 0; i < number; i++) {
			struct transfer *transfer = (struct transfer *)events[i].obj;
			if (events[i].res != SIZE)
				fail("a transfer");
			count -= transfer->writes;
			transfer->writes = !transfer->writes;
			if (transfer->writes)
				io_prep_pwrite(&transfer->iocb, target, transfer->buffer, SIZE, 0);
			else
				io_prep_pread(&transfer->iocb, source, transfer->buffer, SIZE, 0);
			io_set_eventfd(&transfer->iocb, done);
			batch[batched++] = &transfer->iocb;
		}
	}
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc > MOST)
		return 2;
	char *command[MOST + 2] = { 0 };
	memcpy(command, argv + 5, (argc - 5) * sizeof(*argv));
	int depth = atoi(argv[4]);
	if (!strcmp(argv[1], "control"))
		control(atoi(argv[2]), argv[3], command, argc - 5);
	else if (!strcmp(argv[1], "echo") && depth >= 1 && depth <= MOST)
		echo(atoi(argv[2]), argv[3], depth);
	else
		return 2;
	return 0;
}
