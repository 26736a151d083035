"""A web server that holds an event stream open: python event_source.py PORT

GET /events     an event for each GET /say?WORDS that follows, as it comes
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

said = threading.Condition()
words: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.stream()
            return
        with said:
            words.append(self.path.partition("?")[2])
            said.notify_all()
        self.send_response(204)
        self.end_headers()

    def stream(self) -> None:
        count = 0
        while True:
            with said:
                said.wait_for(lambda: len(words) > count)
                data = words[count]
            count += 1
            self.wfile.write(f"data: {data}\n\n".encode())
            self.wfile.flush()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        del format, arguments


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, address: object) -> None:
        del request, address  # a reader that leaves is no error


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
