"""Joins a running Ray cluster, after a look at whether one answers at its address."""

import logging
import os
import socket

import ray

ANSWER = 6.0  # seconds that a cluster has to accept a connection, and to say something
# How a client of HTTP/2 begins (RFC 9113, 3.4), and the type of the frame that a server answers with: Ray speaks gRPC, which lies above.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
FRAME_HEAD, SETTINGS = 9, 4


def join_cluster() -> None:
    """Join the cluster of this job or of RAY_ADDRESS; a `ValueError` for an address that is none."""
    refuse_silent_address()
    try:
        ray.init(logging_level=logging.WARNING, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        address, reason = os.environ.get("RAY_ADDRESS", "auto"), " ".join(str(error).split())[:160]
        raise ValueError(f"no Ray cluster could be joined at RAY_ADDRESS={address} ({reason}); start it, or unset RAY_ADDRESS") from error


def refuse_silent_address() -> None:
    """Refuse a RAY_ADDRESS where nobody answers, or something else: Ray itself tries for minutes, and then prints its own internals."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not host or not port.isdigit():
        return  # auto, local, or a name that Ray looks up by itself
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("0", ""):
                refuse_other_service(connection)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"no Ray cluster answers at RAY_ADDRESS={address} ({reason}); start it, or unset RAY_ADDRESS") from None


def refuse_other_service(connection: socket.socket) -> None:
    """An `OSError` where what has accepted the connection does not speak HTTP/2, as every part of Ray does."""
    connection.sendall(GREETING)
    head = b""
    while len(head) < FRAME_HEAD:
        if not (piece := connection.recv(FRAME_HEAD - len(head))):
            raise OSError("what listens there hangs up and is no Ray")
        head += piece
    if head[3] != SETTINGS:
        raise OSError("what listens there is no Ray")
