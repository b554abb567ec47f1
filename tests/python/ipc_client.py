"""A client of the broker in Python's standard library, written from docs/protocol.md alone. Values are JSON.

One thread: who waits for something reads frames until it is there, and hands on what comes by meanwhile. `commands.py` runs it.
"""
import json
import os
import socket
import struct
from types import SimpleNamespace

PREFACE = b"\xacIPC\r\n\x1a\n"
HEADER = struct.Struct("<IBBHQIHBB")  # body, kind, encoding, flags, id, aux, key, attachments, reserved
HELLO, WELCOME, GOODBYE, PING, PONG, DONE, ERROR = 1, 2, 3, 4, 5, 8, 9
REGISTER, CALL, CALL_PIECE, CALL_CREDIT, CANCEL, REPLY, REPLY_PIECE, REPLY_CREDIT = 0x10, *range(0x20, 0x27)
SUBSCRIBE, PUBLISH, PUBLISH_CREDIT, ACCEPTED, EVENT, EVENT_PIECE, GAP = 0x30, 0x32, *range(0x34, 0x39)
FIRST_FRAME = {CALL_PIECE: CALL, REPLY_PIECE: REPLY, EVENT_PIECE: EVENT}
JSON, META, ORIGIN, CONTINUED, RETAIN, NO_SUCH_METHOD, HANDLER, ENCODING = 1, 1, 2, 4, 0x20, 2, 3, 15
NO_REPLY = MAY_HAVE_RUN = ACK = ABORT = 0x10


class Closed(Exception):
    """The connection is over; the text says why."""


class CallError(Exception):
    """A request failed."""

    def __init__(self, code, text, may_have_run):
        super().__init__(f"error {code}: {text}" + (" (it may have run)" if may_have_run else ""))
        self.code, self.may_have_run = code, may_have_run


class Client:
    def __init__(self, endpoint, name=""):
        self.socket = connect(endpoint)
        self.input = self.socket.makefile("rb")
        self.answers, self.unfinished = {}, {}  # id: frame; (kind, id, …): first frame of a message in pieces
        self.objects, self.events = {}, {}  # name: {method: function}; subscription: its values
        self.last_id = self.missed = 0  # missed: events of all subscriptions that this client was too slow for
        self.socket.sendall(PREFACE)
        self.send(HELLO, id=1, aux=1, payload=bytes([len(name.encode())]) + name.encode())
        welcome = self.read()
        if welcome.kind != WELCOME:
            raise Closed(f"refused ({welcome.aux}): {welcome.payload.decode(errors='replace')}")
        self.window = struct.unpack_from("<I", welcome.payload, 24)[0]

    def call(self, object, method, args=None, timeout=30.0):
        return value(self.answer(self.request(CALL, pair(object, method), args, aux=max(1, int(timeout * 1000)))))

    def register(self, name, methods):
        """`methods[method](args)` serves the object from now on, whenever this client reads."""
        self.objects[name.encode()] = methods
        self.answer(self.request(REGISTER, name.encode()))

    def publish(self, object, event, value, retain=False):
        """Returns how many subscriptions the event goes to; the broker has it then."""
        while self.window <= 0:
            self.step()
        return self.answer(self.request(PUBLISH, pair(object, event), value, flags=ACK | RETAIN * retain)).aux

    def subscribe(self, object, event):
        """Returns, when the broker has it, an iterator over the values."""
        id = self.request(SUBSCRIBE, pair(object, event))
        waiting = self.events[id] = []  # before Done is read: events may follow it at once
        self.answer(id)

        def values():
            while True:
                while not waiting:
                    self.step()
                yield waiting.pop(0)
        return values()

    def close(self):
        self.send(GOODBYE, aux=1)
        try:
            while True:
                self.step()
        except Closed:
            self.socket.close()

    def request(self, kind, key, value=None, **fields):
        self.last_id += 1
        if kind in (CALL, PUBLISH):
            fields.update(encoding=JSON, payload=json.dumps(value).encode())
        self.send(kind, id=self.last_id, key=key, **fields)
        return self.last_id

    def answer(self, id):
        while id not in self.answers:
            self.step()
        frame = self.answers.pop(id)
        if frame.kind == ERROR:
            raise CallError(frame.aux, value(frame), bool(frame.flags & MAY_HAVE_RUN))
        return frame

    def step(self):
        """Reads one frame and puts it where it belongs."""
        frame = self.read()
        if frame.kind == GOODBYE:
            raise Closed(f"goodbye ({frame.aux}): {frame.payload.decode(errors='replace')}")
        elif frame.kind == PING:
            self.send(PONG, id=frame.id, encoding=frame.encoding, payload=frame.payload)
        elif frame.kind == PUBLISH_CREDIT:
            self.window += frame.aux
        elif frame.kind in (DONE, ACCEPTED, ERROR):
            self.unfinished.pop((REPLY, frame.id), None)
            self.answers[frame.id] = frame
        elif frame.kind in (CALL, CALL_PIECE, REPLY, REPLY_PIECE, EVENT, EVENT_PIECE):
            self.collect(frame)
        elif frame.kind == CANCEL:
            self.unfinished.pop((CALL, frame.id), None)
        elif frame.kind == GAP:
            self.missed += frame.aux
        elif frame.kind < 0x80:
            raise Closed(f"the broker sent a frame of kind {frame.kind:#x}, which nothing here asks for")

    def collect(self, frame):
        """Puts a message together from its pieces, and returns the credit that they cost."""
        is_piece = frame.kind in FIRST_FRAME
        place = (FIRST_FRAME.get(frame.kind, frame.kind), frame.id)
        place += (frame.aux,) if place[0] == EVENT else ()  # several events in pieces may come at once
        if frame.kind == CALL_PIECE:
            self.send(CALL_CREDIT, id=frame.id, aux=frame.wire)
        elif frame.kind == REPLY_PIECE or (frame.kind == REPLY and frame.flags & CONTINUED):
            self.send(REPLY_CREDIT, id=frame.id, aux=frame.wire)
        whole = self.unfinished.pop(place, None) if is_piece else frame
        if whole is None:
            return
        if is_piece and frame.flags & ABORT:
            whole.kind, whole.aux, whole.flags = ERROR, HANDLER, MAY_HAVE_RUN  # if it was the reply to a call
            return self.answers.update({whole.id: whole} if place[0] == REPLY else {})
        whole.payload += frame.payload if is_piece else b""
        if frame.flags & CONTINUED:
            self.unfinished[place] = whole
        elif whole.kind == CALL:
            self.serve(whole)
        elif whole.kind == REPLY:
            self.answers[whole.id] = whole
        elif whole.id in self.events:
            self.missed += whole.aux * (not is_piece)  # with CONTINUED, aux is the number of the message
            self.events[whole.id].append(value(whole))

    def serve(self, call):
        object, _, method = call.key.partition(b"\0")
        function = self.objects.get(object, {}).get(method.decode())
        answer = dict(kind=ERROR, id=call.id)
        if call.encoding != JSON:
            answer.update(aux=ENCODING, payload=b"this object takes JSON")
        elif function is None:
            answer.update(aux=NO_SUCH_METHOD, payload=b"no method " + method)
        else:
            try:
                answer.update(kind=REPLY, encoding=JSON, payload=json.dumps(function(value(call))).encode())
            except Exception as error:
                answer.update(aux=HANDLER, flags=MAY_HAVE_RUN, payload=str(error).encode())
        if not call.flags & NO_REPLY:
            self.send(**answer)

    def send(self, kind, id=0, aux=0, flags=0, key=b"", encoding=0, payload=b""):
        if kind == PUBLISH:
            self.window -= HEADER.size + len(key) + len(payload)
        header = HEADER.pack(len(key) + len(payload), kind, encoding, flags, id, aux, len(key), 0, 0)
        self.socket.sendall(header + key + payload)

    def read(self):
        length, kind, encoding, flags, id, aux, key_length, _, _ = HEADER.unpack(self.read_exactly(HEADER.size))
        body = self.read_exactly(length)
        parts = flags if kind < 0x80 else 0  # of an optional kind only the length is sure
        start = 16 if parts & ORIGIN else 0
        start += 2 + struct.unpack_from("<H", body, start)[0] if parts & META else 0
        return SimpleNamespace(kind=kind, encoding=encoding, flags=flags, id=id, aux=aux, wire=HEADER.size + length,
                               key=body[start:start + key_length], payload=body[start + key_length:])

    def read_exactly(self, length):
        data = self.input.read(length)
        if len(data) < length:
            raise Closed("the broker is gone")
        return data


def value(frame):
    return json.loads(frame.payload) if frame.encoding == JSON else frame.payload.decode(errors="replace")


def pair(object, member):
    return object.encode() + b"\0" + member.encode()


def connect(endpoint):
    scheme, _, address = endpoint.partition(":")
    if scheme == "unix":
        if os.stat(address).st_uid not in (0, os.getuid()):
            raise Closed(f"{address} belongs to another user")
        (stream := socket.socket(socket.AF_UNIX)).connect(address)
        return stream
    host, _, port = address.rpartition(":")
    stream = socket.create_connection((host.strip("[]"), int(port)))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream
