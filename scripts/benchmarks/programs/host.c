/*
 * The host's side of every benchmark: the same program for every device, on usbfs itself, so that what is measured is the
 * device. It keeps some transfers queued and submits each again as soon as it has completed, as a libusb program would.
 *
 * It reads commands, one a line, and answers each with a line, "ok ..." or "error TEXT":
 *
 *     open NODE                                     opens /dev/bus/usb/BUS/DEVICE and claims interface 0: ok ID
 *     close ID
 *     enable ID                                     SET_INTERFACE: the device begins anew
 *     ask ID REQUEST                                16 bytes from the device by a vendor request: ok HEX
 *     run ID[,ID...] MODE SIZE QUEUE RAMP SLICE     ok and six numbers, see report(); RAMP and SLICE are in nanoseconds
 *
 * A run uses all pairs of bulk endpoints of all devices named, QUEUE transfers on each endpoint.
 *
 * MODE is one of
 *     in, out     one direction, QUEUE transfers queued
 *     stream      both at once, QUEUE each way: what goes out has to come back
 *     echo        one transfer out and the same one back, then the next
 *     control     16 bytes from the device and 16 to it by control requests, by turns
 *
 * Nothing is ever taken back: at the end of a slice it stops submitting, and all that was submitted completes. So the
 * device is idle before and after, and the CPU time that it has used between is that of all the transfers counted.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST_DEVICES 16
#define MOST_PAIRS 8
#define MOST_LANES 32
#define MOST_QUEUED 64
#define MOST_TIMES (1 << 20)
#define PATIENCE_MS 20000
#define CONTROL_SIZE 16
#define LONGEST_SHARED (256 << 10)
enum { REQUEST_ANSWER = 1, REQUEST_TAKE = 2 };

struct device {
	int fd;
	int ins, outs;
	unsigned char in[MOST_PAIRS], out[MOST_PAIRS];
};

/* One pair of endpoints. */
struct lane {
	int fd;
	unsigned char in, out;
	uint64_t reads_submitted, writes_submitted, reads_done, writes_done;
	struct usbdevfs_urb *reads, *writes;
};

struct run {
	struct lane lanes[MOST_LANES];
	int lanes_count;
	struct pollfd files[MOST_DEVICES];
	int files_count;
	bool reads, writes;
	size_t size;
	int queue;
	int in_flight;
	int64_t begin, end; /* Of the slice; before it is the ramp. */
	uint64_t counted, total; /* Transfers: within the slice, and all. */
	int64_t first, last;     /* When the slice was seen to begin and to end. */
	int64_t cpu;
	bool over;
	char error[200];
};

static struct device devices[MOST_DEVICES];
static int64_t *times;
static int times_count;

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void report_error(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fputs("error ", stdout);
	vprintf(format, arguments);
	putchar('\n');
	va_end(arguments);
}

static bool broken(struct run *run, const char *format, ...)
{
	va_list arguments;
	if (!run->error[0]) {
		va_start(arguments, format);
		vsnprintf(run->error, sizeof(run->error), format, arguments);
		va_end(arguments);
	}
	return false;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

/* The kernel's SourceSink has the same bulk endpoints in its second setting, too. */
static bool known(const struct device *device, unsigned char address)
{
	for (int i = 0; i < MOST_PAIRS; i++)
		if ((i < device->ins && device->in[i] == address) || (i < device->outs && device->out[i] == address))
			return true;
	return false;
}

static void find_endpoints(struct device *device, const unsigned char *data, ssize_t length)
{
	for (ssize_t at = 0; at + 2 <= length && data[at] >= 2; at += data[at]) {
		if (data[at + 1] != USB_DT_ENDPOINT || at + USB_DT_ENDPOINT_SIZE > length)
			continue;
		unsigned char address = data[at + 2];
		if ((data[at + 3] & USB_ENDPOINT_XFERTYPE_MASK) != USB_ENDPOINT_XFER_BULK)
			continue;
		if ((address & USB_DIR_IN ? device->ins : device->outs) == MOST_PAIRS || known(device, address))
			continue;
		if (address & USB_DIR_IN)
			device->in[device->ins++] = address;
		else
			device->out[device->outs++] = address;
	}
}

static void open_device(const char *node)
{
	unsigned char descriptors[1024];
	unsigned int interface = 0;
	int id = 0;
	while (id < MOST_DEVICES && devices[id].fd)
		id++;
	if (id == MOST_DEVICES) {
		report_error("%d devices are open already", id);
		return;
	}
	struct device found = { .fd = open(node, O_RDWR | O_CLOEXEC) };
	if (found.fd < 0) {
		report_error("%s: %s", node, strerror(errno));
		return;
	}
	/* What a node reads is the device descriptor and all configurations (drivers/usb/core/devio.c, usbdev_read). */
	find_endpoints(&found, descriptors, read(found.fd, descriptors, sizeof(descriptors)));
	if (!found.ins || found.ins != found.outs)
		report_error("%s has %d bulk endpoints in and %d out", node, found.ins, found.outs);
	else if (ioctl(found.fd, USBDEVFS_CLAIMINTERFACE, &interface))
		report_error("%s: cannot claim its interface: %s", node, strerror(errno));
	else {
		devices[id] = found;
		printf("ok %d\n", id);
		return;
	}
	close(found.fd);
}

/* ---- control requests ------------------------------------------------------------------------------------------- */

static int control(const struct device *device, bool in, unsigned char request, void *data)
{
	struct usbdevfs_ctrltransfer transfer = {
		.bRequestType = USB_TYPE_VENDOR | USB_RECIP_INTERFACE | (in ? USB_DIR_IN : USB_DIR_OUT),
		.bRequest = request,
		.wLength = CONTROL_SIZE,
		.timeout = PATIENCE_MS,
		.data = data,
	};
	return ioctl(device->fd, USBDEVFS_CONTROL, &transfer);
}

static void ask(const struct device *device, int request)
{
	unsigned char data[CONTROL_SIZE];
	int length = control(device, true, request, data);
	if (length < 0) {
		report_error("request %d: %s", request, strerror(errno));
		return;
	}
	fputs("ok ", stdout);
	for (int i = 0; i < length; i++)
		printf("%02x", data[i]);
	putchar('\n');
}

static void enable(const struct device *device)
{
	struct usbdevfs_setinterface setting = { .interface = 0, .altsetting = 0 };
	if (ioctl(device->fd, USBDEVFS_SETINTERFACE, &setting))
		report_error("SET_INTERFACE: %s", strerror(errno));
	else
		puts("ok");
}

/* ---- the clock of a run ----------------------------------------------------------------------------------------- */

static void begin_run(struct run *run, int64_t ramp, int64_t slice)
{
	run->begin = clock_ns(CLOCK_MONOTONIC) + ramp;
	run->end = run->begin + slice;
	times_count = 0;
}

/* Called at each completion. The slice lasts from the first one after the ramp to the first one after its end. */
static void count(struct run *run)
{
	run->total++;
	if (run->over)
		return;
	int64_t now = clock_ns(CLOCK_MONOTONIC);
	if (!run->first) {
		if (now >= run->begin) {
			run->first = now;
			run->cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		}
		return;
	}
	run->counted++;
	run->last = now;
	if (now >= run->end) {
		run->over = true;
		run->cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - run->cpu;
	}
}

static int ascending(const void *left, const void *right)
{
	int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
	return (a > b) - (a < b);
}

static void report(const struct run *run)
{
	if (run->error[0]) {
		report_error("%s", run->error);
		return;
	}
	qsort(times, times_count, sizeof(times[0]), ascending);
	/* Transfers in the slice, its length in ns, transfers in all, the host's CPU time in the slice, the median of the
	 * round trips in ns, bytes of a transfer. */
	printf("ok %llu %lld %llu %lld %lld %zu\n", (unsigned long long)run->counted, (long long)(run->last - run->first),
	       (unsigned long long)run->total, (long long)run->cpu, times_count ? (long long)times[times_count / 2] : 0LL,
	       run->size);
}

/* ---- bulk ------------------------------------------------------------------------------------------------------- */

static bool submit(struct run *run, struct lane *lane, struct usbdevfs_urb *urb)
{
	bool in = urb->endpoint & USB_DIR_IN;
	uint64_t number = in ? lane->reads_submitted : lane->writes_submitted;
	if (!in)
		memcpy(urb->buffer, &number, sizeof(number));
	urb->buffer_length = run->size;
	urb->actual_length = 0;
	urb->usercontext = lane;
	if (ioctl(lane->fd, USBDEVFS_SUBMITURB, urb))
		return broken(run, "submitting: %s", strerror(errno));
	(*(in ? &lane->reads_submitted : &lane->writes_submitted))++;
	run->in_flight++;
	return true;
}

/* One that has completed; NULL if none has within our patience. */
static struct usbdevfs_urb *reap(struct run *run)
{
	struct usbdevfs_urb *urb;
	for (;;) {
		for (int i = 0; i < run->files_count; i++) {
			if (!ioctl(run->files[i].fd, USBDEVFS_REAPURBNDELAY, &urb)) {
				run->in_flight--;
				return urb;
			}
			if (errno != EAGAIN) {
				broken(run, "reaping: %s", strerror(errno));
				return NULL;
			}
		}
		if (poll(run->files, run->files_count, PATIENCE_MS) == 0) {
			broken(run, "nothing has completed for %d s, with %d transfers in flight", PATIENCE_MS / 1000,
			       run->in_flight);
			return NULL;
		}
	}
}

/* Whether it moved all that it should, and an echo brought back what was sent at its place. */
static bool check(struct run *run, const struct usbdevfs_urb *urb)
{
	struct lane *lane = urb->usercontext;
	bool in = urb->endpoint & USB_DIR_IN;
	uint64_t number, expected = in ? lane->reads_done : lane->writes_done;
	(*(in ? &lane->reads_done : &lane->writes_done))++;
	if (urb->status)
		return broken(run, "a transfer %s: %s", in ? "in" : "out", strerror(-urb->status));
	if ((size_t)urb->actual_length != run->size)
		return broken(run, "a transfer %s of %d bytes instead of %zu", in ? "in" : "out", urb->actual_length, run->size);
	if (in && run->writes) {
		memcpy(&number, urb->buffer, sizeof(number));
		if (number != expected)
			return broken(run, "transfer %llu came back where %llu should have", (unsigned long long)number,
				      (unsigned long long)expected);
	}
	return true;
}

/* Whether this one is to be submitted again. At the end each transfer that went out is still read back. */
static bool goes_on(const struct run *run, const struct usbdevfs_urb *urb)
{
	const struct lane *lane = urb->usercontext;
	if (!run->over)
		return true;
	return run->writes && (urb->endpoint & USB_DIR_IN) && lane->reads_submitted < lane->writes_submitted;
}

static bool complete_one(struct run *run)
{
	struct usbdevfs_urb *urb = reap(run);
	if (!urb || !check(run, urb))
		return false;
	/* Of an echo only what comes back counts. */
	if (!run->reads || (urb->endpoint & USB_DIR_IN))
		count(run);
	return !goes_on(run, urb) || submit(run, urb->usercontext, urb);
}

static void stream(struct run *run)
{
	for (int i = 0; i < run->queue * run->lanes_count; i++) {
		struct lane *lane = &run->lanes[i % run->lanes_count];
		int at = i / run->lanes_count;
		if (run->reads && !submit(run, lane, &lane->reads[at]))
			return;
		if (run->writes && !submit(run, lane, &lane->writes[at]))
			return;
	}
	while (run->in_flight)
		if (!complete_one(run))
			return;
}

static void round_trips(struct run *run)
{
	struct lane *lane = &run->lanes[0];
	while (!run->over) {
		int64_t started = clock_ns(CLOCK_MONOTONIC);
		if (!submit(run, lane, &lane->reads[0]) || !submit(run, lane, &lane->writes[0]))
			return;
		while (run->in_flight) {
			struct usbdevfs_urb *urb = reap(run);
			if (!urb || !check(run, urb))
				return;
		}
		if (run->first && times_count < MOST_TIMES)
			times[times_count++] = clock_ns(CLOCK_MONOTONIC) - started;
		count(run);
	}
}

static void requests(struct run *run, const struct device *device)
{
	unsigned char data[CONTROL_SIZE] = { 0 };
	for (bool in = true; !run->over; in = !in) {
		int length = control(device, in, in ? REQUEST_ANSWER : REQUEST_TAKE, data);
		if (length != CONTROL_SIZE) {
			broken(run, "a request moved %d bytes: %s", length, length < 0 ? strerror(errno) : "too few");
			return;
		}
		count(run);
	}
}

/* ---- a run ------------------------------------------------------------------------------------------------------ */

/*
 * usbfs can share the memory of a transfer with the kernel, so that it copies nothing (devio.c, usbdev_mmap). It is one
 * piece of physical memory, which there may not be for long transfers, so these are copied, for every device alike.
 */
static void *make_buffer(int fd, size_t size, bool *shared)
{
	void *buffer = *shared ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (buffer == MAP_FAILED) {
		*shared = false;
		buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	}
	return buffer == MAP_FAILED ? NULL : buffer;
}

static struct usbdevfs_urb *make_urbs(const struct run *run, int fd, unsigned char endpoint)
{
	struct usbdevfs_urb *urbs = calloc(run->queue, sizeof(*urbs));
	bool shared = run->size <= LONGEST_SHARED;
	for (int i = 0; urbs && i < run->queue; i++) {
		urbs[i].type = USBDEVFS_URB_TYPE_BULK;
		urbs[i].endpoint = endpoint;
		urbs[i].buffer = make_buffer(fd, run->size, &shared);
		if (!urbs[i].buffer) {
			fprintf(stderr, "no memory for %d transfers of %zu bytes\n", run->queue, run->size);
			exit(1);
		}
	}
	return urbs;
}

static void free_urbs(const struct run *run, struct usbdevfs_urb *urbs)
{
	for (int i = 0; i < run->queue; i++)
		munmap(urbs[i].buffer, run->size);
	free(urbs);
}

static void add_lanes(struct run *run, const struct device *device)
{
	run->files[run->files_count++] = (struct pollfd){ .fd = device->fd, .events = POLLOUT };
	for (int i = 0; i < device->ins && run->lanes_count < MOST_LANES; i++) {
		struct lane *lane = &run->lanes[run->lanes_count++];
		*lane = (struct lane){ .fd = device->fd, .in = device->in[i], .out = device->out[i] };
		lane->reads = make_urbs(run, lane->fd, lane->in);
		lane->writes = make_urbs(run, lane->fd, lane->out);
	}
}

/* What is still queued after an error must not come back into freed memory: it is taken back and waited for. */
static void discard(struct run *run)
{
	for (int i = 0; i < run->lanes_count; i++)
		for (int at = 0; at < run->queue; at++) {
			ioctl(run->lanes[i].fd, USBDEVFS_DISCARDURB, &run->lanes[i].reads[at]);
			ioctl(run->lanes[i].fd, USBDEVFS_DISCARDURB, &run->lanes[i].writes[at]);
		}
	while (run->in_flight > 0 && reap(run))
		;
}

static struct device *device_at(int id)
{
	return id >= 0 && id < MOST_DEVICES && devices[id].fd ? &devices[id] : NULL;
}

static void run_command(char *ids, const char *mode, size_t size, int queue, int64_t ramp, int64_t slice)
{
	struct run run = { .size = size, .queue = queue };
	const struct device *device = NULL;
	run.reads = strcmp(mode, "out");
	run.writes = strcmp(mode, "in");
	for (char *id = strtok(ids, ","); id; id = strtok(NULL, ",")) {
		device = device_at(atoi(id));
		if (!device || run.files_count == MOST_DEVICES) {
			report_error("no such device: %s", id);
			return;
		}
		add_lanes(&run, device);
	}
	begin_run(&run, ramp, slice);
	if (!strcmp(mode, "control"))
		requests(&run, device);
	else if (!strcmp(mode, "echo"))
		round_trips(&run);
	else
		stream(&run);
	if (run.error[0])
		discard(&run);
	report(&run);
	for (int i = 0; i < run.lanes_count; i++) {
		free_urbs(&run, run.lanes[i].reads);
		free_urbs(&run, run.lanes[i].writes);
	}
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

static void obey(char *line)
{
	char word[16] = "", argument[200] = "", mode[16];
	int request = 0, queue;
	size_t size;
	long long ramp, slice;
	line[strcspn(line, "\n")] = 0;
	sscanf(line, "%15s %199s %d", word, argument, &request);
	struct device *device = device_at(atoi(argument));
	if (!strcmp(word, "open")) {
		open_device(argument);
	} else if (sscanf(line, "run %199s %15s %zu %d %lld %lld", argument, mode, &size, &queue, &ramp, &slice) == 6 &&
		   queue >= 1 && queue <= MOST_QUEUED && size >= sizeof(uint64_t)) {
		run_command(argument, mode, size, queue, ramp, slice);
	} else if (!device) {
		report_error("no such device: %s", line);
	} else if (!strcmp(word, "close")) {
		close(device->fd);
		device->fd = 0;
		puts("ok");
	} else if (!strcmp(word, "enable")) {
		enable(device);
	} else if (!strcmp(word, "ask")) {
		ask(device, request);
	} else {
		report_error("no such command: %s", line);
	}
}

int main(void)
{
	char line[400];
	times = malloc(MOST_TIMES * sizeof(times[0]));
	if (!times)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	return 0;
}
