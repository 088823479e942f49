/*
 * Process 1 of a guest: mounts what the tests need, runs rsyscall-stub with the virtio port as its stream, and
 * switches the machine off when that ends.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int failed, const char *what)
{
	if (failed) {
		perror(what);
		reboot(RB_POWER_OFF);
	}
}

static void mount_at(const char *type, const char *path)
{
	mkdir(path, 0755);
	check(mount(type, path, type, 0, NULL), path);
}

/* The name depends on the order in which the devices are found. */
static int open_port(void)
{
	char path[300];
	struct dirent *entry;
	DIR *directory = opendir("/dev");
	int fd = -1;

	check(!directory, "/dev");
	while (fd < 0 && (entry = readdir(directory)))
		if (!strncmp(entry->d_name, "vport", 5)) {
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			fd = open(path, O_RDWR);
			check(fd < 0, path);
		}
	closedir(directory);
	return fd;
}

static void become_stub(void)
{
	static char *const arguments[] = { "rsyscall-stub", "stdio", NULL };
	static char *const environment[] = { "PATH=/bin", "HOME=/tmp", NULL };
	int port, tries = 0;

	while ((port = open_port()) < 0) {
		check(tries++ > 6000, "no virtio port");
		usleep(10000);
	}
	check(dup2(port, 0) < 0 || dup2(port, 1) < 0, "dup2");
	if (port > 2)
		close(port);
	execve("/bin/rsyscall-stub", arguments, environment);
	check(1, "/bin/rsyscall-stub");
}

int main(void)
{
	pid_t stub;

	mount_at("devtmpfs", "/dev");
	mount_at("proc", "/proc");
	mount_at("tmpfs", "/tmp");
	stub = fork();
	check(stub < 0, "fork");
	if (stub == 0)
		become_stub();
	while (wait(NULL) != stub)
		;
	reboot(RB_POWER_OFF);
}
