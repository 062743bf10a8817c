"""matrix-nio in a room: it syncs, and says "nio 1", "nio 2", ... every second, one after the other.

    nio_client.py BASE CA USER PASSWORD ROOM      until SIGTERM

One JSON object a line: each answer as it came off the wire (nio asks again by itself, in silence, when a
connection fails: that counts as an error here), each message that the server took, each event heard.
"""

import asyncio
import json
import signal
import ssl
import sys
import time

from nio import AsyncClient, AsyncClientConfig, RoomSendResponse, SyncResponse

BASE, CA, USER, PASSWORD, ROOM = sys.argv[1:]
FILTER = {"room": {"timeline": {"limit": 500}}}
# Longer than an edge holds a request. nio's own patience is the poll's 30 s and 15 more.
PATIENCE = 100


def tell(kind, **facts):
    print(json.dumps({"kind": kind, "at": time.monotonic(), **facts}), flush=True)


class Watched(AsyncClient):
    """Tells of every answer and of every failure, before nio makes up for it."""

    async def send(self, method, path, *rest, **more):
        begun = time.monotonic()
        what = f"{method} {path.split('?')[0]}"
        arguments = dict(zip(("data", "headers", "trace_context", "timeout"), rest), **more)
        arguments["timeout"] = PATIENCE
        tell("asked", what=what)
        try:
            answer = await super().send(method, path, **arguments)
        except Exception as error:
            tell("answer", what=what, status=0, begun=begun, detail=repr(error))
            raise
        detail = "" if answer.status == 200 else (await answer.text())[:200]
        tell("answer", what=what, status=answer.status, begun=begun, detail=detail)
        return answer


async def speak(client, over):
    number, due = 0, time.monotonic()
    while not over.is_set():
        number += 1
        while True:
            content = {"msgtype": "m.text", "body": f"nio {number}"}
            said = await client.room_send(ROOM, "m.room.message", content, tx_id=f"nio-{number}")
            if isinstance(said, RoomSendResponse):
                break
            await asyncio.sleep(1)
        tell("sent", body=f"nio {number}", event=said.event_id)
        # What was held up is caught up with, one message after the other.
        due += 1
        await asyncio.sleep(max(0, due - time.monotonic()))


async def listen(client):
    patience = 0
    while True:
        told = await client.sync(patience, sync_filter=FILTER)
        if not isinstance(told, SyncResponse):
            tell("answer", what="sync", status=0, begun=time.monotonic(), detail=repr(told)[:200])
            await asyncio.sleep(1)
            continue
        patience = 30000
        room = told.rooms.join.get(ROOM)
        for event in room.timeline.events if room else ():
            if body := event.source.get("content", {}).get("body"):
                tell("heard", body=body, event=event.event_id)


async def main():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    client = Watched(
        BASE, USER, ssl=ssl.create_default_context(cafile=CA), config=AsyncClientConfig(request_timeout=PATIENCE)
    )
    await client.login(PASSWORD)
    listening = asyncio.create_task(listen(client))
    await speak(client, over)
    # The last words are still to be heard.
    await asyncio.sleep(2)
    listening.cancel()
    await client.close()
    tell("done")


asyncio.run(main())
