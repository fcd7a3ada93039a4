"""One WebSocket with what is still to be sent on it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from infra.exchange.channels import ErrorCode, Frame
from infra.exchange.fault_board import FaultBoard
from infra.exchange.faults import Disconnected, FrameDelayed, FrameDropped, FrameDuplicated, SubscriptionEnded
from infra.exchange.stream import StreamSession

PING_PAYLOAD = b"heartbeat"
CLOSE_SECONDS = 0.5
_GOING_AWAY = 1001


@dataclass(frozen=True, slots=True)
class _Queued:
    """A frame, or without one the end of the connection, that may not go before ``due`` on the loop's clock."""

    frame: Frame | None
    due: float = 0.0


class Connection:
    """Queues what the exchange has to say and sends it in order, unless a fault strikes.

    :param limit: unread frames that end the subscription of the next one (error 25)
    """

    def __init__(
        self,
        session: StreamSession,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        board: FaultBoard,
        limit: int,
    ) -> None:
        self.session = session
        self.sent = 0
        self._socket = socket
        self._transport = transport
        self._board = board
        self._limit = limit
        self._queue: deque[_Queued] = deque()
        self._ready = asyncio.Event()
        self._held: set[asyncio.TimerHandle] = set()
        self._ends = False
        self._clean = False

    def push(self, frames: Iterable[Frame]) -> None:
        """Queue frames; a subscription that overflows the queue loses what is unread, and itself."""
        if self._ends:
            return
        lost: set[int] = set()
        for frame in frames:
            if frame.sid in lost:
                continue
            if len(self._queue) >= self._limit and frame.sid is not None:
                lost.add(frame.sid)
                self._end_subscription(frame.sid, ErrorCode.OVERFLOW)
                continue
            fault = None if self._board.is_idle else self._board.frame(frame.channel, frame.kind, frame.market)
            match fault:
                case None:
                    self._queue.append(_Queued(frame))
                case FrameDropped():
                    continue
                case FrameDuplicated():
                    self._queue += [_Queued(frame), _Queued(frame)]
                case FrameDelayed():
                    self._delay(frame, fault)
                case SubscriptionEnded():
                    if frame.sid is None:  # it goes with no subscription that could end
                        self._queue.append(_Queued(frame))
                    else:
                        lost.add(frame.sid)
                        self._end_subscription(frame.sid, _TERMINAL[fault.code])
                case Disconnected():
                    self._ends, self._clean = True, fault.clean
                    self._queue.append(_Queued(None))
                    break
        if self._queue:
            self._ready.set()

    def _end_subscription(self, sid: int, code: ErrorCode) -> None:
        self._queue = deque(kept for kept in self._queue if kept.frame is None or kept.frame.sid != sid)
        self._queue.extend(map(_Queued, self.session.end(sid, code)))

    def _delay(self, frame: Frame, fault: FrameDelayed) -> None:
        loop = asyncio.get_running_loop()
        seconds = fault.ms / 1_000
        if not fault.overtaken:
            self._queue.append(_Queued(frame, loop.time() + seconds))
            return

        def release() -> None:
            self._held.discard(handle)
            self._queue.append(_Queued(frame))
            self._ready.set()

        handle = loop.call_later(seconds, release)
        self._held.add(handle)

    async def write(self) -> None:
        """Send queued frames until cancelled or the connection is over."""
        loop = asyncio.get_running_loop()
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._queue:
                first = self._queue[0]
                if first.due > loop.time():
                    await asyncio.sleep(first.due - loop.time())
                    continue  # what waited may have been taken away meanwhile
                self._queue.popleft()
                if first.frame is None:
                    await self._end()
                    return
                await self._socket.send_str(first.frame.text)
                self.sent += 1

    async def ping(self, seconds: float) -> None:
        """Send the heartbeat until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self._socket.ping(PING_PAYLOAD)

    def forget(self) -> None:
        """Let go of frames that are still held back: nobody is there for them."""
        self._ends = True
        for handle in self._held:
            handle.cancel()
        self._held.clear()

    async def close(self) -> None:
        """Say goodbye, but never wait for a peer that does not read."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self._socket.close(code=_GOING_AWAY, message=b"exchange stops"), CLOSE_SECONDS)
        self._abort()

    async def _end(self) -> None:
        if self._clean:
            await self.close()
        else:
            self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


_TERMINAL = {code.value[0]: code for code in (ErrorCode.CHANNEL_ERROR, ErrorCode.OVERFLOW)}
