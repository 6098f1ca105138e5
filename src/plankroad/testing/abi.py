"""Linux's numbers of the socket API, as the system calls of `syscalls` take and give them on every platform.

Source: include/uapi/asm-generic and include/uapi/linux, the generic architecture (x86, ARM, RISC-V).
"""

from __future__ import annotations

from typing import Final

AF_UNSPEC: Final = 0
AF_INET: Final = 2
AF_INET6: Final = 10

SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_TYPE_MASK: Final = 0xF
SOCK_NONBLOCK: Final = 0o4000
SOCK_CLOEXEC: Final = 0o2000000

IPPROTO_IP: Final = 0
IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_IPV6: Final = 41
SOL_SOCKET: Final = 1

# SOL_SOCKET
SO_REUSEADDR: Final = 2
SO_TYPE: Final = 3
SO_ERROR: Final = 4
SO_BROADCAST: Final = 6
SO_SNDBUF: Final = 7
SO_RCVBUF: Final = 8
SO_KEEPALIVE: Final = 9
SO_OOBINLINE: Final = 10
SO_PRIORITY: Final = 12
SO_LINGER: Final = 13
SO_REUSEPORT: Final = 15
SO_RCVLOWAT: Final = 18
SO_SNDLOWAT: Final = 19
SO_RCVTIMEO: Final = 20
SO_SNDTIMEO: Final = 21
SO_ACCEPTCONN: Final = 30
SO_MARK: Final = 36
SO_PROTOCOL: Final = 38
SO_DOMAIN: Final = 39
SO_ZEROCOPY: Final = 60

# IPPROTO_TCP
TCP_NODELAY: Final = 1
TCP_MAXSEG: Final = 2
TCP_SYNCNT: Final = 7
TCP_DEFER_ACCEPT: Final = 9
TCP_WINDOW_CLAMP: Final = 10
TCP_INFO: Final = 11
TCP_QUICKACK: Final = 12
TCP_CONGESTION: Final = 13
TCP_FASTOPEN: Final = 23
TCP_NOTSENT_LOWAT: Final = 25
TCP_FASTOPEN_CONNECT: Final = 30
TCP_FASTOPEN_KEY: Final = 33
TCP_INQ: Final = 36
TCP_CM_INQ: Final = TCP_INQ

# IPPROTO_IP, IPPROTO_IPV6
IP_TOS: Final = 1
IP_TTL: Final = 2
IP_MTU_DISCOVER: Final = 10
IP_MTU: Final = 14
IP_FREEBIND: Final = 15
IPV6_UNICAST_HOPS: Final = 16
IPV6_MTU_DISCOVER: Final = 23
IPV6_MTU: Final = 24
IPV6_V6ONLY: Final = 26
IPV6_TCLASS: Final = 67

MSG_OOB: Final = 0x1
MSG_PEEK: Final = 0x2
MSG_CTRUNC: Final = 0x8
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_EOR: Final = 0x80
MSG_WAITALL: Final = 0x100
MSG_ERRQUEUE: Final = 0x2000
MSG_NOSIGNAL: Final = 0x4000
MSG_MORE: Final = 0x8000
MSG_ZEROCOPY: Final = 0x4000000
MSG_FASTOPEN: Final = 0x20000000
MSG_CMSG_CLOEXEC: Final = 0x40000000

O_RDONLY: Final = 0
O_WRONLY: Final = 1
O_RDWR: Final = 2
O_ACCMODE: Final = 3
O_CREAT: Final = 0o100
O_TRUNC: Final = 0o1000
O_APPEND: Final = 0o2000
O_NONBLOCK: Final = 0o4000

F_GETFD: Final = 1
F_SETFD: Final = 2
F_GETFL: Final = 3
F_SETFL: Final = 4

FIONREAD: Final = 0x541B
SIOCINQ: Final = FIONREAD
SIOCOUTQ: Final = 0x5411
SIOCOUTQNSD: Final = 0x894B
SIOCATMARK: Final = 0x8905
FIONBIO: Final = 0x5421

SHUT_RD: Final = 0
SHUT_WR: Final = 1
SHUT_RDWR: Final = 2

POLLIN: Final = 0x001
POLLPRI: Final = 0x002
POLLOUT: Final = 0x004
POLLERR: Final = 0x008
POLLHUP: Final = 0x010
POLLNVAL: Final = 0x020
POLLRDNORM: Final = 0x040
POLLRDBAND: Final = 0x080
POLLWRNORM: Final = 0x100
POLLWRBAND: Final = 0x200
POLLRDHUP: Final = 0x2000

EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3
EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31

SPLICE_F_MOVE: Final = 1
SPLICE_F_NONBLOCK: Final = 2
SPLICE_F_MORE: Final = 4

#: Bytes of a pipe.
PIPE_SIZE: Final = 65536
