"""Processes of LorenzoLeonardo's ipc-server, as its document draws them: JSON over TCP, no lengths, no numbers.

old_server.py HOST:PORT diagrams      both sequence diagrams, message by message; then `rust` is called. Prints `ok`.
old_server.py HOST:PORT serve NAME    shares NAME and answers each call with what it was given. Prints `ready`.

A message is complete when a read returned less than it could, as in the programs that are spoken for.
"""
import json
import socket
import sys

CHUNK = 4096


class Process:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say(self, message):
        self.socket.sendall(json.dumps(message).encode())

    def hear(self):
        text = b""
        while True:
            part = self.socket.recv(CHUNK)
            if not part:
                raise EOFError
            text += part
            if len(part) < CHUNK:
                return json.loads(text)

    def ask(self, message, answer):
        self.say(message)
        heard = self.hear()
        assert heard == answer, f"{message}: {heard} instead of {answer}"


def objects_and_calls(address):
    sharer, requestor = Process(address), Process(address)
    sharer.ask({"reg_object": "object_name"}, {"success": "OK"})
    requestor.ask({"list": ["object_name"]}, {"list": ["object_name"]})
    sharer.ask({"reg_object": "object name"}, {"success": "OK"})
    for param in [{"p": [1, 2.5, None]}, "text", 7, True, "x" * 10000]:
        call = {"object": "object name", "method": "method_name", "param": param}
        requestor.say(call)
        assert sharer.hear() == call
        sharer.say({"response": param})
        assert requestor.hear() == {"response": param}
    requestor.say({"object": "object_name", "method": "method_name"})
    assert sharer.hear() == {"object": "object_name", "method": "method_name"}
    sharer.say({"error": "exception happend"})
    assert requestor.hear() == {"error": "exception happend"}
    requestor.ask({"object": "nobody", "method": "x"}, {"error": "Object not found"})
    requestor.ask({"list": ["object_name", "nobody"]}, {"list": []})


def events(address):
    listeners = [Process(address) for _ in range(3)]
    sender = Process(address)
    for listener in listeners:
        listener.say({"event_name": "event"})
        # The diagram has no answer to it; this one says that it was read.
        listener.ask({"object": "nobody", "method": "x"}, {"error": "Object not found"})
    for n in range(100):
        event = {"event": "event", "result": {"n": n}}
        sender.ask(event, {"success": "OK"})
        for listener in listeners:
            assert listener.hear() == event


def serve(address, name):
    sharer = Process(address)
    sharer.ask({"reg_object": name}, {"success": "OK"})
    print("ready", flush=True)
    while True:
        try:
            call = sharer.hear()
        except EOFError:
            return
        sharer.say({"response": call.get("param")})


def main():
    address, command, *rest = sys.argv[1:]
    if command == "serve":
        return serve(address, *rest)
    objects_and_calls(address)
    events(address)
    call = {"object": "rust", "method": "mul", "param": {"a": 6, "b": 7}}
    Process(address).ask(call, {"response": 42})
    print("ok", flush=True)


main()
