"""What apps do, as the path says, over the synchronous Python SDK."""

import os
import sys
from urllib.parse import parse_qs, urlsplit

from spin_sdk import http, key_value, llm, sqlite, variables
from spin_sdk.http import Request, Response
from spin_sdk.wit.types import Err


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        target = urlsplit(request.uri)
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        try:
            return answer(target.path, query, request)
        except Err as error:
            return text(500, repr(error.value))


def text(status, body):
    return Response(status, {"content-type": "text/plain"}, body.encode())


def answer(path, query, request):
    if path == "/echo":
        return Response(200, {"x-method": request.method}, request.body)
    if path == "/headers":
        return text(200, "\n".join(f"{name}: {value}" for name, value in request.headers.items()))
    if path == "/variable":
        return text(200, variables.get(query["name"]))
    if path == "/set":
        with key_value.open(query.get("label", "default")) as store:
            store.set(query["key"], request.body)
            return text(200, ",".join(sorted(store.get_keys())))
    if path == "/get":
        with key_value.open(query.get("label", "default")) as store:
            return text(200, repr(store.get(query["key"])))
    if path == "/sql":
        with sqlite.open(query.get("label", "default")) as database:
            result = database.execute(request.body.decode(), [])
            rows = [[value.value for value in row.values] for row in result.rows]
            return text(200, f"{result.columns} {rows}")
    if path == "/fetch":
        response = http.send(Request("GET", query["url"], {}, None))
        return text(response.status, response.body.decode())
    if path == "/infer":
        return text(200, llm.infer(query["model"], "Hello?").text)
    if path == "/environment":
        return text(200, os.environ.get(query["name"], "none"))
    if path == "/file":
        with open(query["path"]) as file:
            return text(200, file.read())
    if path == "/print":
        print("words on standard output")
        print("words on standard error", file=sys.stderr)
        return text(200, "printed")
    if path == "/raise":
        raise ValueError("raised on request")
    return Response(404, {}, None)
