"""Starting the endpoint: what it needs is loaded and checked before it listens."""

import ipaddress
import logging
import os
import socket
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.files import backbone_label

log = logging.getLogger(__name__)
KEY = "VOVNET_API_KEY"  # environment variable of the key that requests must bear


def serve(config: RunConfig, session: Session) -> None:
    """Answer requests until the process is interrupted.

    Raises:
        VoVNetError: FastAPI is missing, the address is taken, other machines could ask without a key, or there is no
            policy that fits.
    """
    try:
        import fastapi  # noqa: F401  # what is imported later says the same
        import uvicorn
    except ImportError as error:
        raise VoVNetError("experiments.serve needs FastAPI and uvicorn; run `pip install 'vovnet[serve]'`.") from error
    assert config.serve is not None
    key = os.environ.get(KEY) or None
    if key is None and not _is_loopback(config.serve.host):
        raise VoVNetError(
            f"serve.host={config.serve.host} lets other machines ask, and no key is set; export {KEY}=VALUE, or leave "
            "serve.host at 127.0.0.1."
        )
    with listening(config.serve.host, config.serve.port) as listener:
        host, port = listener.getsockname()[:2]
        app, close = application(config, session, key)
        shown = f"[{host}]" if ":" in host else host
        log.info("serving %s on http://%s:%d/v1%s", "vovnet", shown, port, "" if key else " (without a key)")
        try:
            uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
        finally:
            close()


def application(config: RunConfig, session: Session, key: str | None) -> tuple[Any, Any]:
    """The application and what ends its thread."""
    from vovnet.serve.app import Endpoint, make_app
    from vovnet.serve.batches import Batches
    from vovnet.serve.engine import Engine

    assert config.serve is not None
    engine = Engine(config, session)
    batches = Batches(
        engine.answer,
        size=config.eval.batch_size,
        waiting=config.serve.max_waiting,
        weight=lambda question: question.weight,
        alike=lambda question: question.alike,
        free_memory=engine.free_memory,
    )
    model = backbone_label(config.backbone)
    endpoint = Endpoint(engine, batches, config.serve, model, key, config.eval.max_new_tokens)
    return make_app(endpoint), batches.close


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        VoVNetError: the address is taken, or not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise VoVNetError(f"cannot listen on {host}:{port} ({why}); set serve.host or serve.port.") from error
    # asyncio sets this only on sockets that name their protocol; without it each answer waits 40 ms for the client's
    # delayed acknowledgement. Connections inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
