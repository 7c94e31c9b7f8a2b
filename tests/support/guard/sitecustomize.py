"""Imported by each Python that the tests start (PYTHONPATH, see conftest.py): sockets reach this machine only."""

import ipaddress
import socket

_ALLOWED_NAMES = {"localhost", "localhost.localdomain", socket.gethostname(), ""}
_LOCAL = {getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK") if hasattr(socket, name)}


class NetworkError(OSError):
    """The tests reach no network."""


def _refuse_foreign(host: object) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    if name in _ALLOWED_NAMES:
        return
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        raise NetworkError(f"a test tried to resolve {name!r}; tests reach loopback only") from None
    if not (address.is_loopback or address.is_unspecified):
        raise NetworkError(f"a test tried to reach {name}; tests reach loopback only")


def install() -> None:
    """Put the guard in front of connect, connect_ex, sendto and name resolution; a second call changes nothing."""
    if getattr(socket, "_tests_guard", False):
        return
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
    getaddrinfo = socket.getaddrinfo

    def check(sock: socket.socket, address: object) -> None:
        if sock.family not in _LOCAL:
            assert isinstance(address, tuple)
            _refuse_foreign(address[0])

    def guarded_connect(self, address):
        check(self, address)
        return connect(self, address)

    def guarded_connect_ex(self, address):
        check(self, address)
        return connect_ex(self, address)

    def guarded_sendto(self, data, *arguments):
        check(self, arguments[-1])
        return sendto(self, data, *arguments)

    def guarded_getaddrinfo(host, *arguments, **options):
        _refuse_foreign(host)
        return getaddrinfo(host, *arguments, **options)

    socket.socket.connect = guarded_connect
    socket.socket.connect_ex = guarded_connect_ex
    socket.socket.sendto = guarded_sendto
    socket.getaddrinfo = guarded_getaddrinfo
    socket._tests_guard = True


install()
