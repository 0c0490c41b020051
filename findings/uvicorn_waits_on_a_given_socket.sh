#!/usr/bin/env bash
# uvicorn answers 40 ms later on a socket that it is given than on one that it opens itself.
#
# Versions: uvicorn 0.38.0 with h11, Python 3.11 and 3.12, Linux.
# Behaviour: asyncio switches Nagle's algorithm off only for sockets whose protocol number is IPPROTO_TCP. A socket of
#   `socket.create_server` has protocol 0, so have the connections that it accepts, and their answers go out as two
#   writes, headers and body: the second waits until the client acknowledges the first, which clients delay by 40 ms.
# Why it surprises: `Server.run(sockets=[...])` and `create_server` are public interfaces, both sockets are plain
#   TCP, the first request of a connection is fast, and under load the wait looks like the model's own time.
# Whom it hurts: who serves a small or routed model behind FastAPI and opens the port first, to choose a free one or to
#   fail before weights are loaded: the latency of one request is the network's wait, not the model's.
# Output seen:
#   its own socket: 0.2 ms
#   a given socket: 44.0 ms
#   a given socket with TCP_NODELAY: 0.2 ms
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q uvicorn==0.38.0 2>/dev/null
said=$("$place/venv/bin/python" - <<'PY'
import http.client, socket, statistics, threading, time
import uvicorn


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def median(port, **given):
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs=given)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    connection, times = http.client.HTTPConnection("127.0.0.1", port), []
    for _ in range(31):
        begun = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        times.append(time.perf_counter() - begun)
    connection.close()
    server.should_exit = True
    thread.join()
    return f"{statistics.median(times) * 1e3:.1f} ms"


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
print("its own socket:", median(port))
plain, prompt = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
prompt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print("a given socket:", median(plain.getsockname()[1], sockets=[plain]))
print("a given socket with TCP_NODELAY:", median(prompt.getsockname()[1], sockets=[prompt]))
PY
)
echo "$said"
echo "$said" | awk -F'[: ]+' '{ms[NR] = $(NF - 1)} END {exit !(ms[1] < 20 && ms[2] > 30 && ms[3] < 20)}'
