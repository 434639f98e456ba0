/*
 * What bench and bench_lab measure from within a guest.
 *
 *   bench-guest send WHERE MIB      zeros to the host, at a port of vsock or at an ADDRESS:PORT
 *   bench-guest receive WHERE MIB   from the host, and then one byte to it
 *   bench-guest echo PORT           listens at a port of vsock, and gives one host back what it sends
 *   bench-guest read DEVICE SECONDS READERS
 *       aligned blocks of 4 KiB from anywhere on the device, past the page cache; prints how
 *       many were read in a second
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 << 10)
#define BLOCK 4096

static char chunk[CHUNK];

static void fail(const char *what)
{
	fprintf(stderr, "bench-guest: cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_by_vsock(const char *port)
{
	struct sockaddr_vm host = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = atoi(port) };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&host, sizeof(host)) < 0)
		fail("connect to the host");
	return fd;
}

static int connect_by_network(const char *address, const char *port)
{
	struct sockaddr_in host = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (inet_aton(address, &host.sin_addr) == 0)
		fail("read the address");
	if (fd < 0 || connect(fd, (struct sockaddr *)&host, sizeof(host)) < 0)
		fail("connect to the host");
	return fd;
}

static int connect_to(char *where)
{
	char *port = strchr(where, ':');

	if (!port)
		return connect_by_vsock(where);
	*port++ = 0;
	return connect_by_network(where, port);
}

static void send_all(char *where, long mib)
{
	int fd = connect_to(where);
	long left = mib << 20;

	while (left > 0) {
		ssize_t sent = write(fd, chunk, left < CHUNK ? left : CHUNK);
		if (sent <= 0)
			fail("send");
		left -= sent;
	}
}

static void receive_all(char *where, long mib)
{
	int fd = connect_to(where);
	long left = mib << 20;

	while (left > 0) {
		ssize_t got = read(fd, chunk, CHUNK);
		if (got <= 0)
			fail("receive");
		left -= got;
	}
	if (write(fd, "", 1) != 1)
		fail("answer");
}

static void echo(const char *port)
{
	struct sockaddr_vm any = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = atoi(port) };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	ssize_t got;

	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 1) < 0)
		fail("listen");
	puts("listening");
	fflush(stdout);
	fd = accept(fd, NULL, NULL);
	if (fd < 0)
		fail("accept");
	while ((got = read(fd, chunk, CHUNK)) > 0)
		if (write(fd, chunk, got) != got)
			fail("send");
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static long read_until(const char *device, double end, unsigned long seed)
{
	unsigned long long size, blocks, count = 0;
	void *block = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open(device, O_RDONLY | O_DIRECT);

	if (block == MAP_FAILED || fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0)
		fail("open the device");
	blocks = size / BLOCK;
	while (now() < end) {
		seed = seed * 6364136223846793005UL + 1442695040888963407UL;
		if (pread(fd, block, BLOCK, (seed >> 33) % blocks * BLOCK) != BLOCK)
			fail("read a block");
		count++;
	}
	return count;
}

static void read_blocks(const char *device, int seconds, int readers)
{
	long *counts = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double begin = now(), end = begin + seconds;
	long sum = 0;

	if (counts == MAP_FAILED || readers > BLOCK / (int)sizeof(*counts))
		fail("share memory");
	for (int reader = 0; reader < readers; reader++) {
		if (fork() == 0) {
			counts[reader] = read_until(device, end, reader + 1);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	for (int reader = 0; reader < readers; reader++) {
		if (counts[reader] == 0)
			fail("read in time");
		sum += counts[reader];
	}
	printf("%.0f\n", sum / (now() - begin));
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "send") == 0)
		send_all(argv[2], atol(argv[3]));
	else if (argc == 4 && strcmp(argv[1], "receive") == 0)
		receive_all(argv[2], atol(argv[3]));
	else if (argc == 3 && strcmp(argv[1], "echo") == 0)
		echo(argv[2]);
	else if (argc == 5 && strcmp(argv[1], "read") == 0)
		read_blocks(argv[2], atoi(argv[3]), atoi(argv[4]));
	else
		return 2;
	return 0;
}
