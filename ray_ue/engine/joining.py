"""Joins a running Ray cluster, after a look at whether one answers at its address."""

import logging
import os
import re
import socket

import ray

ANSWER = 6.0  # seconds that a cluster has to accept a connection, and to say something
# How a client of HTTP/2 begins (RFC 9113, 3.4), and the types of its frames that matter here: Ray speaks gRPC, which lies above.
FRAME_HEAD, HEADERS, RESET, SETTINGS, GOODBYE = 9, 1, 3, 4, 7
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
WHOLE = 5  # flags of HEADERS: all of them, and nothing follows
LAST_KIND = 9  # of the types
# How a block of headers begins whose status is not 200, after changes of its table's size: 204 to 500 by number, others spelt (RFC 7541).
OTHER_STATUS = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f])*(?:[\x89-\x8e]|[\x08\x18\x48]\x03(?!200))")


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
    """An `OSError` where what has accepted the connection does not speak gRPC, as every part of Ray does.

    A server of gRPC answers any call with the HTTP status 200, also one that it does not know; a proxy or a web server with another.
    """
    connection.sendall(GREETING + _frame(HEADERS, flags=WHOLE, stream=1, content=_call()))
    kind, _ = _next_frame(connection)
    if kind != SETTINGS:
        raise OSError("what listens there is no Ray")
    while kind not in (HEADERS, RESET, GOODBYE):
        kind, content = _next_frame(connection)
        if kind == HEADERS and OTHER_STATUS.match(content):
            raise OSError("what listens there answers, but is no Ray")


def _call() -> bytes:
    """The headers of a call without arguments, in literals (RFC 7541, appendix A and 6.2.2)."""
    method_and_scheme = bytes((0x83, 0x86))  # POST, http
    named = {b"\4": b"/ray.rpc.NodeInfoGcsService/CheckAlive", b"\1": b"ray", b"\x0f\x10": b"application/grpc", b"\0\2te": b"trailers"}
    return method_and_scheme + b"".join(name + bytes((len(value),)) + value for name, value in named.items())


def _frame(kind: int, *, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + content


def _next_frame(connection: socket.socket) -> tuple[int, bytes]:
    """The type and the content of the next frame that a server of HTTP/2 sends."""
    head = _receive(connection, FRAME_HEAD)
    if head[3] > LAST_KIND:
        raise OSError("what listens there is no Ray")
    return head[3], _receive(connection, int.from_bytes(head[:3]))


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (piece := connection.recv(size - len(data))):
            raise OSError("what listens there hangs up and is no Ray")
        data += piece
    return data
