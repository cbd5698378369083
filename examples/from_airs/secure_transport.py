"""AIRS' ``SecureTransport(inner, tls_config)``: TLS around any transport; here it is put around the stream below one.

The custom transport of the template does not know of it.  Give it a certificate for ``localhost``, its key, and the
authority behind them, each as a PEM file:

    python secure_transport.py certificate.pem key.pem authority.pem
"""

from __future__ import annotations

import ssl
import sys
import warnings
from functools import partial

import trio
from custom_transport_template import CustomConfig, CustomTransport, echo

from trio_mcp_transport import Handlers, ServerInfo, TransportError
from trio_mcp_transport.adapters.blocking import open_bytes_client, serve_bytes
from trio_mcp_transport.transports.secure import SecureStream


async def main(certificate: str, key: str, authority: str) -> None:
    of_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    of_server.load_cert_chain(certificate, key)

    async def serve_one(stream: trio.abc.Stream) -> None:
        secure = SecureStream(stream, ssl_context=of_server, server_side=True)
        info = ServerInfo("secure", "1.0")
        await serve_bytes(Handlers(request=echo), CustomTransport(CustomConfig(""), secure), server_info=info)

    async def ask(secure: SecureStream) -> str:
        async with open_bytes_client(CustomTransport(CustomConfig(""), secure)) as client:
            text: str = (await client.request("echo", {"text": "encrypted"}))["text"]
            return text

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(partial(trio.serve_listeners, serve_one, listeners))

        trusting = ssl.create_default_context(cafile=authority)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        print("verified:", await ask(SecureStream(stream, ssl_context=trusting, server_hostname="localhost")))

        # The system's authorities do not know that certificate.
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        try:
            await ask(SecureStream(stream, server_hostname="localhost"))
        except TransportError as error:
            print("refused:", error.__cause__)

        # AIRS' disable_certificate_validation(): only by this keyword, and never in silence.
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            secure = SecureStream(stream, verify=False)
        print("warned:", warned[0].message)
        print("unverified:", await ask(secure))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    _, pem, key_pem, authority_pem = sys.argv
    trio.run(main, pem, key_pem, authority_pem)
