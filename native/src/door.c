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
 * others, and is closed when the next program comes and this one has no use for it: it has closed the other end of
 * the socket that it has sent for that, or is dead. One that has not may come back.
 *
 * Only the epoll instance of the program that is connected watches for other work: the kernel lets an instance be
 * watched by about a hundred others, and no more. A program that comes back says which one is its own.
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
#define SCM_RIGHTS 1
#define MSG_CMSG_CLOEXEC 0x40000000
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

/* The program goes into a command line, and compilers take each call that is put in place for a few bytes. */
#define SMALL __attribute__((noinline))

/* Nothing, if it is negative. */
static SMALL void close_fd(int fd)
{
	if (fd >= 0)
		rsys_call1(__NR_close, fd);
}

/* 0 or an error. */
static SMALL long watch(int epfd, int fd, uint64_t key)
{
	struct event event = { RSYS_POLLIN, key };

	return rsys_call4(__NR_epoll_ctl, epfd, EPOLL_CTL_ADD, fd, &event);
}

static SMALL void unwatch(int epfd, int fd)
{
	rsys_call4(__NR_epoll_ctl, epfd, EPOLL_CTL_DEL, fd, 0);
}

static void forget(struct rsys_door *door, unsigned int key)
{
	close_fd(door->waiting[key]);
	door->waiting[key] = -1;
}

static void fill_welcome(struct rsys_door *door)
{
	static const char magic[] = RSYS_DOOR_MAGIC;
	struct rsys_welcome *welcome = &door->welcome;
	int i;

	for (i = 0; i < 8; i++)
		((volatile char *)welcome->magic)[i] = magic[i];
	welcome->status = 0;
	welcome->kit = welcome->life = -1;
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

static SMALL int get_peer(int fd, struct peer *ret_peer)
{
	int32_t size = sizeof(*ret_peer);

	return !rsys_is_error(rsys_call5(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &size));
}

static void close_kit(const struct rsys_door *door, int32_t *fds)
{
	int i;

	/* Children may have copies of it. */
	unwatch(fds[RSYS_KIT_EPOLL], door->activity);
	for (i = 0; i < RSYS_KIT_SIZE; i++) {
		close_fd(fds[i]);
		fds[i] = -1;
	}
}

/* Whether the other end of a socket is closed. */
static int has_ended(int fd)
{
	struct rsys_pollfd fds = { .fd = fd, .events = POLLRDHUP };
	struct rsys_timespec now = { 0, 0 };

	return rsys_call5(__NR_ppoll, &fds, 1, &now, 0, 8) == 1;
}

static void close_unused_kits(struct rsys_door *door)
{
	struct rsys_kit *kit;

	for (kit = door->kits; kit < door->kits + RSYS_DOOR_KITS; kit++)
		if (kit->fds[0] >= 0 &&
		    (kit->life >= 0 ? has_ended(kit->life) : rsys_call2(__NR_kill, kit->pid, 0) == -ESRCH)) {
			close_kit(door, kit->fds);
			close_fd(kit->life);
		}
}

/* Make what the program needs that has connected over `fd`, and write it down; 0 or an error. */
static int equip(struct rsys_door *door, int fd, int life)
{
	/* Of all architectures: the action comes first, and the rest is 0. */
	uint64_t ignore[4] = { 1 /* SIG_IGN */, 0, 0, 0 };
	int32_t fds[RSYS_KIT_SIZE] = { -1, -1, -1 };
	struct peer peer;
	long result;
	int i, kit = 0;

	while (kit < RSYS_DOOR_KITS && door->kits[kit].fds[0] >= 0)
		kit++;
	if (kit == RSYS_DOOR_KITS)
		return -EUSERS;
	result = fds[RSYS_KIT_EPOLL] = rsys_call1(__NR_epoll_create1, SOCK_CLOEXEC);
	if (result >= 0)
		result = watch(fds[RSYS_KIT_EPOLL], door->activity, door->activity);
	if (result >= 0)
		result = rsys_call4(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, &fds[RSYS_KIT_ACCESS]);
	if (result < 0) {
		close_kit(door, fds);
		return result;
	}
	/* A write to a pipe that nothing reads is to fail. A filter may deny that. */
	rsys_call4(__NR_rt_sigaction, SIGPIPE, ignore, 0, 8);
	/* Of one in a place that we do not see the number is 0: without a life it is kept, as if we had it ourselves. */
	door->kits[kit].pid = get_peer(fd, &peer) ? peer.pid : 0;
	door->kits[kit].life = door->welcome.life = life;
	for (i = 0; i < RSYS_KIT_SIZE; i++)
		door->welcome.made[i] = door->kits[kit].fds[i] = fds[i];
	door->welcome.kit = door->next_kit = kit;
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
		close_fd(fd);
		return;
	}
	/* The one that has said nothing for the longest time. */
	forget(door, key);
	door->waiting[key] = fd;
	if (watch(door->epfd, fd, key))
		forget(door, key);
}

/* As read(2) of a knock, and the descriptor that came with it, or -1. */
static long hear(int fd, struct rsys_knock *knock, int32_t *ret_life)
{
	struct {
		size_t length;
		int32_t level, type, fd, padding;
	} control __attribute__((aligned(8)));
	/* Without the padding, which has room for another one. */
	const size_t length = sizeof(size_t) + 3 * sizeof(int32_t);
	struct rsys_iovec vector = { knock, sizeof(*knock) };
	struct rsys_msghdr head = { 0, 0, &vector, 1, &control, length, 0 };
	long n = rsys_call3(__NR_recvmsg, fd, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*ret_life = -1;
	if (rsys_is_denied(n))
		return rsys_call3(__NR_read, fd, knock, sizeof(*knock));
	if (n > 0 && head.control_length >= length && control.level == SOL_SOCKET && control.type == SCM_RIGHTS &&
	    control.length == length)
		*ret_life = control.fd;
	return n;
}

/* Let the program in that has knocked; 0 or an error. */
static int admit(struct rsys_door *door, int fd, const struct rsys_knock *knock, int life)
{
	int i;

	if (door->connected && !(knock->flags & RSYS_DOOR_TAKE_OVER) && !has_ended(door->stream))
		return -EBUSY;
	close_unused_kits(door);
	door->next_kit = door->welcome.kit = door->welcome.life = -1;
	for (i = 0; i < RSYS_KIT_SIZE; i++)
		door->welcome.made[i] = -1;
	if (knock->flags & RSYS_DOOR_EQUIP)
		return equip(door, fd, life);
	/* It may have been closed meanwhile, by one that wanted to have nothing left here. */
	if (knock->kit && door->kits[knock->kit - 1].fds[RSYS_KIT_EPOLL] >= 0) {
		door->next_kit = knock->kit - 1;
		watch(door->kits[knock->kit - 1].fds[RSYS_KIT_EPOLL], door->activity, door->activity);
	}
	return 0;
}

static void let_in(struct rsys_door *door, unsigned int key)
{
	static const char magic[] = RSYS_DOOR_MAGIC;
	struct rsys_knock knock;
	int32_t life;
	int i, error, fd = door->waiting[key];
	int good = hear(fd, &knock, &life) == sizeof(knock);

	for (i = 0; good && i < 8; i++)
		good = knock.magic[i] == magic[i];
	good = good && !(knock.flags & ~(RSYS_DOOR_TAKE_OVER | RSYS_DOOR_EQUIP)) && knock.kit <= RSYS_DOOR_KITS;
	error = good ? admit(door, fd, &knock, life) : 0;
	/* One that nothing was made for has no use for it. */
	if (!good || error || !(knock.flags & RSYS_DOOR_EQUIP))
		close_fd(life);
	if (error)
		refuse(door, fd, error);
	if (!good || error) {
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
	door.next = door.next_kit = -1;
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
	error = equip(&door, stream, -1);
	if (error) {
		refuse(&door, stream, error);
		return 2;
	}
	for (;;) {
		door.connected = 1;
		door.kit = door.next_kit;
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
		close_fd(door.next);
		door.next = -1;
		if (door.kit >= 0 && door.kit != door.next_kit)
			unwatch(door.kits[door.kit].fds[RSYS_KIT_EPOLL], door.activity);
	}
}
