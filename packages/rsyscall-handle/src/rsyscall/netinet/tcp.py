"""`<netinet/tcp.h>`, `<linux/tcp.h>`: options and states of TCP sockets."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, known, u8, u32, u64

__all__ = ["TCP", "TCP_CA", "TCP_STATE", "TcpInfo"]


class TCP(enum.IntEnum):
    """`TCP_*`: socket options at level `SOL.TCP`; most take an `Int32`.

    `KEEPIDLE`, `KEEPINTVL` (seconds) and `KEEPCNT` matter once `SO.KEEPALIVE` is on. `INFO` gives a
    `TcpInfo`.

    manpage: tcp(7)
    """

    NODELAY = 1
    MAXSEG = 2
    CORK = 3
    KEEPIDLE = 4
    KEEPINTVL = 5
    KEEPCNT = 6
    SYNCNT = 7
    LINGER2 = 8
    DEFER_ACCEPT = 9
    WINDOW_CLAMP = 10
    INFO = 11
    QUICKACK = 12
    CONGESTION = 13
    MD5SIG = 14
    COOKIE_TRANSACTIONS = 15  # no longer in the kernel
    THIN_LINEAR_TIMEOUTS = 16
    THIN_DUPACK = 17
    USER_TIMEOUT = 18
    REPAIR = 19
    REPAIR_QUEUE = 20
    QUEUE_SEQ = 21
    REPAIR_OPTIONS = 22
    FASTOPEN = 23
    TIMESTAMP = 24
    NOTSENT_LOWAT = 25
    CC_INFO = 26
    SAVE_SYN = 27
    SAVED_SYN = 28
    REPAIR_WINDOW = 29
    FASTOPEN_CONNECT = 30
    ULP = 31
    MD5SIG_EXT = 32
    FASTOPEN_KEY = 33
    FASTOPEN_NO_COOKIE = 34
    ZEROCOPY_RECEIVE = 35
    INQ = 36
    CM_INQ = 36  # the type of the control message
    TX_DELAY = 37


class TCP_STATE(enum.IntEnum):
    """`TCP_ESTABLISHED` and so on: the state of a socket, in `TcpInfo`.

    manpage: tcp(7)
    """

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11


class TCP_CA(enum.IntEnum):
    """`TCP_CA_*`: what congestion control is doing, in `TcpInfo`.

    manpage: tcp(7)
    """

    Open = 0
    Disorder = 1
    CWR = 2
    Recovery = 3
    Loss = 4


class TcpInfo(
    CStruct,
    c="struct tcp_info",
    headers=("linux/types.h", "linux/tcp.h"),
    brief=("state", "rtt", "snd_cwnd"),
):
    """`struct tcp_info`: what the kernel knows of a connection; the option `TCP.INFO` gives it.

    The bit fields behind `options`, such as the window scales, are left out.

    Args:
        state: of the connection.
        ca_state: of congestion control.
        rto, ato, rtt, rttvar, rcv_rtt, min_rtt: microseconds.
        last_data_sent, last_ack_sent, last_data_recv, last_ack_recv: milliseconds since then.
        pacing_rate, max_pacing_rate, delivery_rate: bytes per second.
        busy_time, rwnd_limited, sndbuf_limited: microseconds.

    manpage: tcp(7)
    """

    state: TCP_STATE | int = u8("tcpi_state", known(TCP_STATE), prefix="TCP_")
    ca_state: TCP_CA | int = u8("tcpi_ca_state", known(TCP_CA))
    retransmits: int = u8("tcpi_retransmits")
    probes: int = u8("tcpi_probes")
    backoff: int = u8("tcpi_backoff")
    options: int = u8("tcpi_options")
    rto: int = u32("tcpi_rto")
    ato: int = u32("tcpi_ato")
    snd_mss: int = u32("tcpi_snd_mss")
    rcv_mss: int = u32("tcpi_rcv_mss")
    unacked: int = u32("tcpi_unacked")
    sacked: int = u32("tcpi_sacked")
    lost: int = u32("tcpi_lost")
    retrans: int = u32("tcpi_retrans")
    fackets: int = u32("tcpi_fackets")
    last_data_sent: int = u32("tcpi_last_data_sent")
    last_ack_sent: int = u32("tcpi_last_ack_sent")
    last_data_recv: int = u32("tcpi_last_data_recv")
    last_ack_recv: int = u32("tcpi_last_ack_recv")
    pmtu: int = u32("tcpi_pmtu")
    rcv_ssthresh: int = u32("tcpi_rcv_ssthresh")
    rtt: int = u32("tcpi_rtt")
    rttvar: int = u32("tcpi_rttvar")
    snd_ssthresh: int = u32("tcpi_snd_ssthresh")
    snd_cwnd: int = u32("tcpi_snd_cwnd")
    advmss: int = u32("tcpi_advmss")
    reordering: int = u32("tcpi_reordering")
    rcv_rtt: int = u32("tcpi_rcv_rtt")
    rcv_space: int = u32("tcpi_rcv_space")
    total_retrans: int = u32("tcpi_total_retrans")
    pacing_rate: int = u64("tcpi_pacing_rate")
    max_pacing_rate: int = u64("tcpi_max_pacing_rate")
    bytes_acked: int = u64("tcpi_bytes_acked")
    bytes_received: int = u64("tcpi_bytes_received")
    segs_out: int = u32("tcpi_segs_out")
    segs_in: int = u32("tcpi_segs_in")
    notsent_bytes: int = u32("tcpi_notsent_bytes")
    min_rtt: int = u32("tcpi_min_rtt")
    data_segs_in: int = u32("tcpi_data_segs_in")
    data_segs_out: int = u32("tcpi_data_segs_out")
    delivery_rate: int = u64("tcpi_delivery_rate")
    busy_time: int = u64("tcpi_busy_time")
    rwnd_limited: int = u64("tcpi_rwnd_limited")
    sndbuf_limited: int = u64("tcpi_sndbuf_limited")
    delivered: int = u32("tcpi_delivered")
    delivered_ce: int = u32("tcpi_delivered_ce")
    bytes_sent: int = u64("tcpi_bytes_sent")
    bytes_retrans: int = u64("tcpi_bytes_retrans")
    dsack_dups: int = u32("tcpi_dsack_dups")
    reord_seen: int = u32("tcpi_reord_seen")
    rcv_ooopack: int = u32("tcpi_rcv_ooopack")
    snd_wnd: int = u32("tcpi_snd_wnd")
