"""Carries bytes between its standard streams and a Unix socket, and every end of input too: ``listen`` or ``connect``.

Stands for ssh and socat where a test needs a program of that kind.
"""

import os
import socket
import sys
import threading
import time


def connected(how: str, path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    if how == "listen":
        connection.bind(path + ".new")
        connection.listen(1)
        os.rename(path + ".new", path)  # whoever sees it can connect
        accepted, _ = connection.accept()
        connection.close()
        return accepted
    until = time.monotonic() + 10
    while True:
        try:
            connection.connect(path)
            return connection
        except FileNotFoundError:
            if time.monotonic() > until:
                raise
            time.sleep(0.002)


def to_output(connection: socket.socket) -> None:
    try:
        while data := connection.recv(65536):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    except OSError:
        os._exit(0)  # nobody reads any more
    os.close(1)


connection = connected(*sys.argv[1:])
back = threading.Thread(target=to_output, args=(connection,))
back.start()
try:
    while data := os.read(0, 65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
except OSError:
    os._exit(0)
back.join()
