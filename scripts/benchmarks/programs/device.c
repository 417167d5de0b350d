/*
 * The floor: what a FunctionFS device costs in C, with libaio, written for speed and for nothing else.
 *
 * One epoll loop serves ep0 and the completions of all transfers, which an eventfd announces. Every wake-up reaps all that
 * has completed with one io_getevents and starts everything that follows from it with one io_submit. Buffers are aligned
 * to pages, made once, and handed from one direction to the other without a copy.
 *
 *     device FOLDER MODE SIZE DEPTH [files]
 *
 * FOLDER is where FunctionFS is mounted, MODE one of in, out, echo, control, SIZE the bytes of a transfer, DEPTH how many
 * are in flight each way. With "files", what it sends comes from /dev/zero, and what it receives goes to /dev/null. It says
 * "ready" once the function can be bound, and serves until it is killed.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/usb/ch9.h>
#include <linux/usb/functionfs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MOST 64
#define ANSWER_SIZE 16
enum { REQUEST_ANSWER = 1, REQUEST_TAKE = 2, REQUEST_COUNTS = 3 };

/* The descriptors at each speed: an interface with a bulk endpoint each way. */
struct endpoints {
	struct usb_interface_descriptor interface;
	struct usb_endpoint_descriptor_no_audio in, out;
} __attribute__((packed));

struct super_speed_endpoints {
	struct usb_interface_descriptor interface;
	struct usb_endpoint_descriptor_no_audio in;
	struct usb_ss_ep_comp_descriptor in_companion;
	struct usb_endpoint_descriptor_no_audio out;
	struct usb_ss_ep_comp_descriptor out_companion;
} __attribute__((packed));

#define INTERFACE                                                                                                      \
	{ .bLength = USB_DT_INTERFACE_SIZE, .bDescriptorType = USB_DT_INTERFACE, .bNumEndpoints = 2,                   \
	  .bInterfaceClass = USB_CLASS_VENDOR_SPEC }
#define BULK(address, packet)                                                                                          \
	{ .bLength = USB_DT_ENDPOINT_SIZE, .bDescriptorType = USB_DT_ENDPOINT, .bEndpointAddress = (address),          \
	  .bmAttributes = USB_ENDPOINT_XFER_BULK, .wMaxPacketSize = (packet) }
#define COMPANION { .bLength = USB_DT_SS_EP_COMP_SIZE, .bDescriptorType = USB_DT_SS_ENDPOINT_COMP }
#define IN_ADDRESS (1 | USB_DIR_IN)
#define OUT_ADDRESS (2 | USB_DIR_OUT)

/* The kernel wants these little-endian, and so are the machines that this is for. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "this program is for little-endian machines");

static const struct {
	struct usb_functionfs_descs_head_v2 head;
	uint32_t full_speed_count, high_speed_count, super_speed_count;
	struct endpoints full_speed, high_speed;
	struct super_speed_endpoints super_speed;
} __attribute__((packed)) descriptors = {
	.head = {
		.magic = FUNCTIONFS_DESCRIPTORS_MAGIC_V2,
		.length = sizeof(descriptors),
		.flags = FUNCTIONFS_HAS_FS_DESC | FUNCTIONFS_HAS_HS_DESC | FUNCTIONFS_HAS_SS_DESC,
	},
	.full_speed_count = 3,
	.high_speed_count = 3,
	.super_speed_count = 5,
	.full_speed = { INTERFACE, BULK(IN_ADDRESS, 64), BULK(OUT_ADDRESS, 64) },
	.high_speed = { INTERFACE, BULK(IN_ADDRESS, 512), BULK(OUT_ADDRESS, 512) },
	.super_speed = { INTERFACE, BULK(IN_ADDRESS, 1024), COMPANION, BULK(OUT_ADDRESS, 1024), COMPANION },
};

static const struct usb_functionfs_strings_head strings = {
	.magic = FUNCTIONFS_STRINGS_MAGIC,
	.length = sizeof(strings),
};

struct transfer {
	struct iocb iocb; /* The first member: a completion names the iocb, and so the transfer. */
	struct transfer *next;
	void *buffer;
	size_t length;
	unsigned generation;
	bool writes, in_flight;
};

struct list {
	struct transfer *first, *last;
};

static struct transfer transfers[2 * MOST];
static struct iocb *batch[2 * MOST];
static int batched;
static io_context_t context;
static int ep0, in_fd, out_fd, completion_fd;
static int source = -1, sink = -1; /* the files, with "files" */
static unsigned generation; /* Counts ENABLEs; a transfer of an earlier one starts anew when it has come back. */
static bool enabled, sends, receives;
static size_t size;
static int depth;
static uint64_t received, sent;

/* Of an echo: IN transfers with nothing to send, and OUT transfers whose data waits for one of these. */
static struct list idle_writes, waiting_reads;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void put(struct list *list, struct transfer *transfer)
{
	transfer->next = NULL;
	if (list->first)
		list->last->next = transfer;
	else
		list->first = transfer;
	list->last = transfer;
}

static struct transfer *take(struct list *list)
{
	struct transfer *transfer = list->first;
	if (transfer)
		list->first = transfer->next;
	return transfer;
}

static void start(struct transfer *transfer, size_t length)
{
	if (transfer->writes)
		io_prep_pwrite(&transfer->iocb, in_fd, transfer->buffer, length, 0);
	else
		io_prep_pread(&transfer->iocb, out_fd, transfer->buffer, length, 0);
	io_set_eventfd(&transfer->iocb, completion_fd);
	transfer->generation = generation;
	transfer->in_flight = true;
	batch[batched++] = &transfer->iocb;
}

static void submit(void)
{
	for (int done = 0; done < batched;) {
		int result = io_submit(context, batched - done, batch + done);
		if (result < 0) {
			errno = -result;
			fail("io_submit");
		}
		done += result;
	}
	batched = 0;
}

/* What was received is sent: the buffers change places, so that both directions can go on at once. */
static void send_back(struct transfer *read, struct transfer *write)
{
	void *filled = read->buffer;
	read->buffer = write->buffer;
	write->buffer = filled;
	start(write, read->length);
	start(read, size);
}

/* Sends what comes from nowhere, or from a file. */
static void send_more(struct transfer *transfer)
{
	if (source >= 0 && read(source, transfer->buffer, size) != (ssize_t)size)
		fail("/dev/zero");
	start(transfer, size);
}

static void on_read(struct transfer *read, size_t length)
{
	received += length;
	read->length = length;
	if (!sends) {
		if (sink >= 0 && write(sink, read->buffer, length) != (ssize_t)length)
			fail("/dev/null");
		start(read, size);
		return;
	}
	struct transfer *write = take(&idle_writes);
	if (write)
		send_back(read, write);
	else
		put(&waiting_reads, read);
}

static void on_written(struct transfer *write, size_t length)
{
	sent += length;
	if (!receives) {
		send_more(write);
		return;
	}
	struct transfer *read = take(&waiting_reads);
	if (read)
		send_back(read, write);
	else
		put(&idle_writes, write);
}

/* Begins what a generation begins with, for one transfer: to receive if it can, or to send if nothing is received. */
static void begin(struct transfer *transfer)
{
	if (!transfer->writes && receives)
		start(transfer, size);
	else if (transfer->writes && sends && !receives)
		send_more(transfer);
	else if (transfer->writes && sends)
		put(&idle_writes, transfer);
}

static void on_failed(struct transfer *transfer, long result)
{
	if (enabled && transfer->generation != generation) {
		begin(transfer);
	} else if (result != -ESHUTDOWN && result != -EAGAIN && result != -ECONNRESET) {
		errno = -result;
		fail("a transfer");
	}
}

static void on_completions(void)
{
	struct io_event events[2 * MOST];
	int count = io_getevents(context, 0, 2 * depth, events, NULL);
	if (count < 0) {
		errno = -count;
		fail("io_getevents");
	}
	for (int i = 0; i < count; i++) {
		struct transfer *transfer = (struct transfer *)events[i].obj;
		long result = (long)events[i].res;
		transfer->in_flight = false;
		if (result < 0 || transfer->generation != generation)
			on_failed(transfer, result);
		else if (transfer->writes)
			on_written(transfer, result);
		else
			on_read(transfer, result);
	}
	submit();
}

static void on_enable(void)
{
	enabled = true;
	generation++;
	idle_writes.first = waiting_reads.first = NULL;
	for (int i = 0; i < 2 * depth; i++)
		if (!transfers[i].in_flight)
			begin(&transfers[i]);
	submit();
}

static void refuse(const struct usb_ctrlrequest *setup)
{
	/* Data in the wrong direction is how FunctionFS is told to stall; EL2HLT is success. */
	ssize_t result = setup->bRequestType & USB_DIR_IN ? read(ep0, NULL, 0) : write(ep0, NULL, 0);
	if (result >= 0 || (errno != EL2HLT && errno != EIDRM))
		fail("refusing a request");
}

static void on_setup(const struct usb_ctrlrequest *setup)
{
	static const char answer[ANSWER_SIZE] = "sixteen bytes...";
	static char taken[ANSWER_SIZE];
	uint64_t counts[] = { received, sent };
	size_t length = setup->wLength < ANSWER_SIZE ? setup->wLength : ANSWER_SIZE;
	ssize_t result;

	if (setup->bRequestType == (USB_DIR_IN | USB_TYPE_VENDOR | USB_RECIP_INTERFACE) && setup->bRequest == REQUEST_ANSWER)
		result = write(ep0, answer, length);
	else if (setup->bRequestType == (USB_DIR_IN | USB_TYPE_VENDOR | USB_RECIP_INTERFACE) &&
		 setup->bRequest == REQUEST_COUNTS)
		result = write(ep0, counts, length);
	else if (setup->bRequestType == (USB_DIR_OUT | USB_TYPE_VENDOR | USB_RECIP_INTERFACE) &&
		 setup->bRequest == REQUEST_TAKE)
		result = read(ep0, taken, length);
	else {
		refuse(setup);
		return;
	}
	if (result < 0 && errno != EIDRM)
		fail("a control request");
}

static void on_ep0(void)
{
	struct usb_functionfs_event events[4];
	ssize_t length = read(ep0, events, sizeof(events));
	if (length < 0) {
		if (errno == EAGAIN || errno == EIDRM || errno == EINTR)
			return;
		fail("events");
	}
	for (size_t i = 0; i < length / sizeof(events[0]); i++) {
		if (events[i].type == FUNCTIONFS_SETUP)
			on_setup(&events[i].u.setup);
		else if (events[i].type == FUNCTIONFS_ENABLE)
			on_enable();
		else if (events[i].type == FUNCTIONFS_DISABLE || events[i].type == FUNCTIONFS_UNBIND)
			enabled = false;
	}
}

static int open_file(const char *folder, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fail(path);
	return fd;
}

static void open_endpoints(const char *folder)
{
	ep0 = open_file(folder, "ep0");
	if (write(ep0, &descriptors, sizeof(descriptors)) < 0 || write(ep0, &strings, sizeof(strings)) < 0)
		fail("descriptors");
	in_fd = open_file(folder, "ep1");
	out_fd = open_file(folder, "ep2");
}

static void make_transfers(void)
{
	int result = io_setup(2 * depth, &context);
	if (result < 0) {
		errno = -result;
		fail("io_setup");
	}
	for (int i = 0; i < 2 * depth; i++) {
		transfers[i].writes = i >= depth;
		if (posix_memalign(&transfers[i].buffer, sysconf(_SC_PAGESIZE), size))
			fail("posix_memalign");
		memset(transfers[i].buffer, 0, size);
	}
}

static int watch(void)
{
	/* Edge-triggered: each completion is one more edge of the eventfd, so that it never has to be read. */
	struct epoll_event completions = { .events = EPOLLIN | EPOLLET, .data.fd = completion_fd };
	struct epoll_event control = { .events = EPOLLIN, .data.fd = ep0 };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, completion_fd, &completions) ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, ep0, &control))
		fail("epoll");
	return epoll;
}

int main(int count, char **arguments)
{
	if (count != 5 && (count != 6 || strcmp(arguments[5], "files"))) {
		fprintf(stderr, "usage: device FOLDER in|out|echo|control SIZE DEPTH [files]\n");
		return 2;
	}
	const char *mode = arguments[2];
	sends = !strcmp(mode, "in") || !strcmp(mode, "echo");
	receives = !strcmp(mode, "out") || !strcmp(mode, "echo");
	size = strtoul(arguments[3], NULL, 0);
	depth = atoi(arguments[4]);
	if (depth < 1 || depth > MOST || !size) {
		fprintf(stderr, "device: 1 to %d transfers, of at least a byte\n", MOST);
		return 2;
	}
	if (count == 6 && ((source = open("/dev/zero", O_RDONLY | O_CLOEXEC)) < 0 ||
			   (sink = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0))
		fail("/dev");
	completion_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	make_transfers();
	open_endpoints(arguments[1]);
	int epoll = watch();
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[2];
		int ready = epoll_wait(epoll, events, 2, -1);
		if (ready < 0 && errno != EINTR)
			fail("epoll_wait");
		/* Completions first: those of a generation that has ended were there before the event that tells of the next. */
		for (int i = 0; i < ready; i++)
			if (events[i].data.fd == completion_fd)
				on_completions();
		for (int i = 0; i < ready; i++)
			if (events[i].data.fd == ep0)
				on_ep0();
	}
}
