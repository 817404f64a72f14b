"""A TLS server that requires a client certificate: demanding.py CHAIN CA VERSION prints its port."""

import socket
import ssl
import sys

chain, authority, version = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain)
context.load_verify_locations(authority)
context.verify_mode = ssl.CERT_REQUIRED
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    connection.settimeout(10)
    secure = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    try:
        secure.do_handshake()
        secure.recv(1)
    except OSError:
        # Reads the rest, as a reset would destroy the alert to the client.
        rest = socket.socket(fileno=secure.detach())
        rest.settimeout(10)
        try:
            rest.shutdown(socket.SHUT_WR)
            while rest.recv(65536):
                pass
        except OSError:
            pass
        rest.close()
    secure.close()
