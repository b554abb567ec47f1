"""Runs ipc_client.py from a command line, for tests/python_client.rs. Prints one JSON value per line, and `ready` when it serves.

ENDPOINT call OBJECT METHOD ARGS | serve OBJECT | publish OBJECT EVENT VALUE... | subscribe OBJECT EVENT COUNT
"""
import json
import sys

from ipc_client import CallError, Client


def say(text):
    print(text, flush=True)


def methods():
    def fail(args):
        raise ValueError(f"will not do {args}")
    return {"add": lambda args: {"sum": args["a"] + args["b"]}, "length": len, "fail": fail}


def main(endpoint, command, object, *rest):
    client = Client(endpoint, name="python")
    if command == "call":
        method, args = rest
        try:
            say(json.dumps(client.call(object, method, json.loads(args))))
        except CallError as error:
            say(json.dumps({"code": error.code, "may_have_run": error.may_have_run, "text": str(error)}))
    elif command == "serve":
        client.register(object, methods())
        say("ready")
        while True:
            client.step()
    elif command == "publish":
        for value in rest[1:]:
            say(client.publish(object, rest[0], json.loads(value)))
    elif command == "subscribe":
        values = client.subscribe(object, rest[0])
        say("ready")
        for _ in range(int(rest[1])):
            say(json.dumps(next(values)))
        say(f"missed {client.missed}")
    client.close()


main(*sys.argv[1:])
