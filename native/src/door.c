/*
 * The server of a persistent process, which outlives the program that drives it.
 *
 * It is driven over a stream as any other. Beside that it looks after its door, whenever it waits for the stream:
 * an epoll instance with the listening socket in it, and with connections that have not said yet what they want.
 *
 * A program that waits for descriptors, in epoll_wait in this process, has to stop when there is other work: a
 * request, or a visitor. That is one descriptor for it, which is the same for all connections: another epoll
 * instance, with the door and the stream in it. So no call that was made before a connection was lost, and that is
 * executed over the next one, can wait for the wrong file.
 *
 * Who may come in. The file of the socket has mode 0600; and a program that connects has to be our user, or root
 * (SO_PEERCRED). Others are closed at once. A program has to say what it wants, in one piece: what says anything
 * else is closed, and what says nothing is closed when there are too many of them. Nothing here ever waits for
 * one of them.
 *
 * What a program needs here, an epoll instance and a pair of sockets, is made before it is let in: so it need not ask
 * for it, and one for which that fails does not disturb the one that is connected. It would never be used again by
 * others, and is closed when the next program comes and this one is dead. One that lives may come back.
 *
 * The stream always has the same number. When a program goes, it is shut down, and stays open until another
 * connection takes its place, in one step (dup3).
 */
#include "door.h"
#include "rsyscall.h"
#include "sleep.h"

#define SOCK_CLOEXEC 02000000
#define SOCK_NONBLOCK 04000
#define SOCK_SEQPACKET 5
#define AF_UNIX 1
#define SIGPIPE 13
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define SHUT_RDWR 2
#define SOL_SOCKET 1
#define SO_PEERCRED 17
#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_DEL 2
#define POLLRDHUP 0x2000
#define MFD_CLOEXEC 1
#define BACKLOG 64
#define KEY_LISTENING RSYS_DOOR_WAITING

struct event {
	uint32_t events;
	uint64_t data;
}
#ifdef __x86_64__
__attribute__((packed))
#endif
;

/* 0 or an error. */
static long watch(int epfd, int fd, uint64_t key)
{
	struct event event = { RSYS_POLLIN, key };

	return rsys_call4(__NR_epoll_ctl, epfd, EPOLL_CTL_ADD, fd, &event);
}

static void unwatch(int epfd, int fd)
{
	rsys_call4(__NR_epoll_ctl, epfd, EPOLL_CTL_DEL, fd, 0);
}

static void forget(struct rsys_door *door, unsigned int key)
{
	if (door->waiting[key] >= 0)
		rsys_call1(__NR_close, door->waiting[key]);
	door->waiting[key] = -1;
}

static void fill_welcome(struct rsys_door *door)
{
	static const char magic[] = RSYS_DOOR_MAGIC;
	struct rsys_welcome *welcome = &door->welcome;
	int i;

	for (i = 0; i < 8; i++)
		((volatile char *)welcome->magic)[i] = magic[i];
	welcome->status = welcome->reserved = 0;
	welcome->listening = door->listening;
	welcome->door = door->epfd;
	welcome->activity = door->activity;
	welcome->store = door->store;
	welcome->kits = (uint64_t)door->kits;
}

static void refuse(struct rsys_door *door, int fd, int error)
{
	door->welcome.status = error;
	/* It has room for that: nothing was sent before. */
	rsys_call6(__NR_sendto, fd, &door->welcome, sizeof(door->welcome), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	door->welcome.status = 0;
}

struct peer {
	int32_t pid;
	uint32_t uid, gid;
};

static int get_peer(int fd, struct peer *ret_peer)
{
	int32_t size = sizeof(*ret_peer);

	return !rsys_is_error(rsys_call5(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &size));
}

static void close_kit(int32_t *fds)
{
	int i;

	for (i = 0; i < RSYS_KIT_SIZE; i++) {
		if (fds[i] >= 0)
			rsys_call1(__NR_close, fds[i]);
		fds[i] = -1;
	}
}

static void close_kits_of_the_dead(struct rsys_door *door)
{
	int i;

	for (i = 0; i < RSYS_DOOR_KITS; i++)
		if (door->kits[i].fds[0] >= 0 && rsys_call2(__NR_kill, door->kits[i].pid, 0) == -ESRCH)
			close_kit(door->kits[i].fds);
}

/*
 * Write it down, unless the program that has connected is in a place that we do not see, or there are too many that
 * live.
 */
static int keep_kit(struct rsys_door *door, int fd, const int32_t *fds)
{
	struct peer peer;
	int i, j;

	if (!get_peer(fd, &peer) || peer.pid <= 0)
		return -1;
	for (i = 0; i < RSYS_DOOR_KITS; i++) {
		if (door->kits[i].fds[0] >= 0)
			continue;
		door->kits[i].pid = peer.pid;
		for (j = 0; j < RSYS_KIT_SIZE; j++)
			door->kits[i].fds[j] = fds[j];
		return i;
	}
	return -1;
}

/* Make what the program needs that has connected over `fd`; 0 or an error. */
static int equip(struct rsys_door *door, int fd)
{
	/* Of all architectures: the action comes first, and the rest is 0. */
	uint64_t ignore[4] = { 1 /* SIG_IGN */, 0, 0, 0 };
	int32_t fds[RSYS_KIT_SIZE] = { -1, -1, -1 };
	long result;
	int i;

	result = fds[RSYS_KIT_EPOLL] = rsys_call1(__NR_epoll_create1, SOCK_CLOEXEC);
	if (result >= 0)
		result = watch(fds[RSYS_KIT_EPOLL], door->activity, door->activity);
	if (result >= 0)
		result = rsys_call4(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, &fds[RSYS_KIT_ACCESS]);
	if (result < 0) {
		close_kit(fds);
		return result;
	}
	/* A write to a pipe that nothing reads is to fail. A filter may deny that. */
	rsys_call4(__NR_rt_sigaction, SIGPIPE, ignore, 0, 8);
	door->welcome.kit = keep_kit(door, fd, fds);
	for (i = 0; i < RSYS_KIT_SIZE; i++)
		door->welcome.made[i] = fds[i];
	return 0;
}

static int is_ours(int fd)
{
	struct peer peer;

	if (!get_peer(fd, &peer))
		return 0;
	return peer.uid == 0 || peer.uid == (uint32_t)rsys_call0(__NR_geteuid);
}

static void accept_one(struct rsys_door *door)
{
	long fd = rsys_call4(__NR_accept4, door->listening, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int64_t pause = RSYS_LONGEST_PAUSE_NS;
	unsigned int key;

	if (fd < 0) {
		/* No descriptor is free: the connection stays where it is. */
		if (fd != -EAGAIN && fd != -ECONNABORTED && fd != -EINTR)
			rsys_pause_longer(&pause);
		return;
	}
	key = ++door->last % RSYS_DOOR_WAITING;
	if (!is_ours(fd)) {
		rsys_call1(__NR_close, fd);
		return;
	}
	/* The one that has said nothing for the longest time. */
	forget(door, key);
	door->waiting[key] = fd;
	if (watch(door->epfd, fd, key))
		forget(door, key);
}

/* Whether the program that is connected is there no more. */
static int has_left(const struct rsys_door *door)
{
	struct rsys_pollfd fds = { .fd = door->stream, .events = POLLRDHUP };
	struct rsys_timespec now = { 0, 0 };

	return rsys_call5(__NR_ppoll, &fds, 1, &now, 0, 8) == 1;
}

static void let_in(struct rsys_door *door, unsigned int key)
{
	static const char magic[] = RSYS_DOOR_MAGIC;
	struct rsys_knock knock;
	int i, error, fd = door->waiting[key];
	int good = rsys_call3(__NR_read, fd, &knock, sizeof(knock)) == sizeof(knock);

	for (i = 0; good && i < 8; i++)
		good = knock.magic[i] == magic[i];
	if (!good || knock.flags & ~(RSYS_DOOR_TAKE_OVER | RSYS_DOOR_EQUIP) || knock.reserved) {
		forget(door, key);
		return;
	}
	error = door->connected && !(knock.flags & RSYS_DOOR_TAKE_OVER) && !has_left(door) ? -EBUSY : 0;
	if (!error) {
		close_kits_of_the_dead(door);
		door->welcome.kit = -1;
		for (i = 0; i < RSYS_KIT_SIZE; i++)
			door->welcome.made[i] = -1;
		if (knock.flags & RSYS_DOOR_EQUIP)
			error = equip(door, fd);
	}
	if (error) {
		refuse(door, fd, error);
		forget(door, key);
		return;
	}
	/* It stays open, under another number. */
	unwatch(door->epfd, fd);
	door->waiting[key] = -1;
	door->next = fd;
}

static int opened(struct rsys_door *door)
{
	struct event event;

	while (door->next < 0 && rsys_call6(__NR_epoll_pwait, door->epfd, &event, 1, 0, 0, 8) == 1) {
		if (event.data == KEY_LISTENING) {
			accept_one(door);
			break;	/* in between, look at the stream */
		}
		let_in(door, event.data % RSYS_DOOR_WAITING);
	}
	return door->next < 0;
}

int rsys_persist(int stream, int listening, char **envp, uint32_t page_size)
{
	static const char name[] = "rsyscall-store";
	struct rsys_door door;
	struct rsys_preface preface = { &door.welcome, sizeof(door.welcome), (char *[]){ 0 } };
	int i, error;

	door.opened = opened;
	door.stream = stream;
	door.listening = listening;
	door.next = -1;
	door.last = 0;
	for (i = 0; i < RSYS_DOOR_WAITING; i++)
		((volatile int32_t *)door.waiting)[i] = -1;
	for (i = 0; i < RSYS_DOOR_KITS; i++)
		door.kits[i].fds[0] = -1;
	/* As the one who listens we are the peer of those who connect. */
	if (rsys_is_error(rsys_call2(__NR_listen, listening, BACKLOG)))
		return 2;
	door.epfd = rsys_call1(__NR_epoll_create1, SOCK_CLOEXEC);
	door.activity = rsys_call1(__NR_epoll_create1, SOCK_CLOEXEC);
	door.store = rsys_call2(__NR_memfd_create, name, MFD_CLOEXEC);
	if (door.epfd < 0 || door.activity < 0 || watch(door.epfd, listening, KEY_LISTENING) ||
	    watch(door.activity, door.epfd, 0))
		return 2;
	fill_welcome(&door);
	error = equip(&door, stream);
	if (error) {
		refuse(&door, stream, error);
		return 2;
	}
	for (;;) {
		door.connected = 1;
		watch(door.activity, stream, 0);
		rsyscall_prefaced_server(stream, stream, envp, page_size, &door, &preface);
		/* It is readable for ever. Others may have copies of it, which keep it in the instance. */
		unwatch(door.activity, stream);
		rsys_call2(__NR_shutdown, stream, SHUT_RDWR);
		door.connected = 0;
		while (door.next < 0) {
			struct rsys_pollfd fds = { .fd = door.epfd, .events = RSYS_POLLIN };

			if (rsys_is_denied(rsys_call5(__NR_ppoll, &fds, 1, 0, 0, 8)))
				return 2;
			opened(&door);
		}
		if (rsys_is_error(rsys_call3(__NR_dup3, door.next, stream, SOCK_CLOEXEC)))
			return 2;
		rsys_call1(__NR_close, door.next);
		door.next = -1;
	}
}
