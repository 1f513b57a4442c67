"""Sends what no document allows to a service, over plain sockets: hostile headers, encodings, conditional requests, raw bytes, attempts to
smuggle. Every answer is HTTP, none is a 5xx, every error is a problem with a request's id. Arguments: ADDRESS TOKEN CASES SEED."""

import asyncio
import json
import random
import re
import sys

METHODS = ["GET", "POST", "PUT"] * 6 + ["HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "G\xc9T"]
ODD = ["", " ", "\t", "0", "-1", "*", '"', '""', '"a b"', '"\\"', "W/", 'W/"0"', '"0", ,"1"', "a" * 300, "\xe9\xff", "%00", "%FF", "{}", "null",
       "é", "1e999", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "01-" + "a" * 32 + "-" + "b" * 16 + "-01-x", "for=;,", "gzip", "chunked", "identity;q=0",
       "a=b;;c", "=", ";", ",", ",,,", "\x7f", "express:sess=", 'express:sess="', "Bearer", "Bearer  ", "Bearer a.b.c", "Basic Og==", "text/plain", "application/json"]
# Those that the service reads itself.
READ = ["If-Match", "If-None-Match", "If-Modified-Since", "If-Range", "Range", "Idempotency-Key", "Cookie", "Content-Encoding", "Accept", "Accept-Encoding", "Origin",
        "Sec-Fetch-Site", "traceparent", "tracestate", "X-Forwarded-For", "Forwarded", "x-request-id", "Cache-Control", "X-HTTP-Method-Override"]
# Those that HTTP itself is made of, and none.
FRAMING = ["Authorization", "Content-Type", "Transfer-Encoding", "Content-Length", "Host", "Expect", "Upgrade", "Connection", "TE", "Trailer", "HTTP2-Settings",
           "Access-Control-Request-Method", "Access-Control-Request-Headers", "\xe9", "a b", ""]
BODIES = ["", "{", "null", "[]", '{"title":"a","price":1}', '{"title":"\\u200b","price":1}', '{"title":{"$serde_json::private::RawValue":"\\"a\\""},"price":5}',
          '{"title":"a","price":1e999999999}', '{"title":"a","price":-0.0}', '{"title":"\\ud800","price":1}', '{"title":"a","title":"b","price":1}', "\x1f\x8b\x08\x00", "[" * 5000,
          '{"title":"' + "a" * 70_000 + '","price":1}', '{"title":"a","price":' + "9" * 500 + "}", "\xff\xfe", '{"price":0.07,"title":"a"}']


class Cases:
    def __init__(self, seed, token):
        self.random, self.token, self.ids = random.Random(seed), token, ["65f0a1b2c3d4e5f60718293a"]

    def odd(self):
        r = self.random
        if r.random() < 0.5:
            return r.choice(ODD)
        kinds = [(32, 127), (32, 127), (128, 256), (1, 256)][: r.choice([1, 1, 3, 4])]
        text = "".join(chr(r.randrange(*r.choice(kinds))) for _ in range(r.randrange(40)))
        return text.replace("\r", "").replace("\n", "")

    def path(self):
        r, id = self.random, self.random.choice(self.ids)
        if r.random() < 0.7:
            return r.choice(["/api/tickets", f"/api/tickets/{id}"])
        return r.choice([ f"/api/tickets?limit={self.odd()}&cursor={self.odd()}", f"/api/tickets/{self.odd()}", "/docs/", "/openapi.json",
                         "/problems/" + self.odd(), "/health/live", "/../../etc/passwd", "//", "*", "http://a/api/tickets", "/" + "a" * r.choice([10, 9000, 70_000]), "/%", "/\xe9"])

    def head(self, body):
        r = self.random
        lines = [f"{r.choice(METHODS)} {self.path()} HTTP/{r.choice(['1.1'] * 40 + ['1.0', '2.0', '0.9', '1.9'])}"]
        if r.random() < 0.95:
            lines.append("Host: a")
        if r.random() < 0.8:
            lines.append(f"Authorization: Bearer {self.token}")
        if r.random() < 0.8:
            lines.append("Content-Type: application/json")
        if r.random() < 0.9:
            lines.append(f"Content-Length: {len(body.encode('latin-1', 'replace'))}")
        for _ in range(r.choice([0, 1, 1, 2, 3, 3, 8])):
            name = r.choice(READ if r.random() < 0.93 else FRAMING)
            lines.append(f"{name}:{r.choice(['', ' '])}{self.odd()}")
        if r.random() < 0.05:
            # Two lengths, or none that counts: what a proxy before us might read otherwise.
            lines.append(r.choice(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked, identity", "Content-Length: 3", "Transfer-Encoding : chunked", " folded: x"]))
        lines.append("Connection: close")
        return "\r\n".join(lines) + "\r\n\r\n"

    def case(self):
        r = self.random
        body = r.choice(BODIES) if r.random() < 0.5 else json.dumps({"title": self.odd(), "price": r.randrange(-1, 10**8) / 100})
        if r.random() < 0.03:
            return "".join(chr(r.randrange(256)) for _ in range(r.randrange(1, 200))) + "\r\n\r\n"
        if r.random() < 0.03:
            hidden = f"POST /api/tickets HTTP/1.1\r\nHost: a\r\n\r\n"
            return self.head(body).replace("Connection: close\r\n", "") + body + hidden + self.head("")
        if r.random() < 0.03:
            chunks = f"{r.choice(['5', '-1', 'g', 'ffffffffffffffff', '0x5', '5;a=b', ''])}\r\n{body}\r\n0\r\n\r\n"
            return f"POST /api/tickets HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer {self.token}\r\nConnection: close\r\n\r\n{chunks}"
        return self.head(body) + body


def check(answer):
    """The statuses of the answers; raises what is wrong with one."""
    statuses = []
    for found in re.finditer(rb"(?:^|(?<=[\]\}\n ]))HTTP/1\.[01] (\d{3}) [^\r]*\r\n(.*?)\r\n\r\n", answer, re.S):
        status, head = int(found[1]), found[2].lower()
        statuses.append(status)
        # Many at once change one ticket, and only a few may: that is told so, and counted.
        is_overload = status == 503 and b'"/problems/overloaded"' in answer and b"retry-after: " in head
        if status >= 500 and not is_overload:
            raise AssertionError(f"a {status}")
        if status >= 400 and b"content-type: application/problem+json" not in head:
            raise AssertionError(f"a {status} that is no problem")
        if status >= 200 and b"x-request-id: " not in head:
            raise AssertionError(f"a {status} without a request's id")
    if answer and not statuses:
        raise AssertionError("no HTTP")
    return statuses


async def ask(host, port, case):
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(case)
        return await asyncio.wait_for(reader.read(-1), 3)
    except asyncio.TimeoutError:
        # It waits for more of the request, and may.
        return bytes(reader._buffer)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def main(address, token, count, seed):
    host, port = address.rsplit(":", 1)
    cases, left, seen = Cases(seed, token), iter(range(count)), {}

    async def client():
        for _ in left:
            case = cases.case().encode("latin-1", "replace")
            answer = await ask(host, port, case)
            try:
                statuses = check(answer)
            except AssertionError as wrong:
                sys.exit(f"{wrong}: {case[:2000]!r} was answered {answer[:2000]!r} (seed {seed})")
            for status in statuses or ["none"]:
                seen[status] = seen.get(status, 0) + 1
            created = re.search(rb'"id":"([0-9a-f]{24})"', answer)
            if created:
                cases.ids = cases.ids[-50:] + [created[1].decode()]

    await asyncio.gather(*(client() for _ in range(64)))
    print(f"hostile: {count} cases, seed {seed}, answers by status: {json.dumps({str(k): seen[k] for k in sorted(seen, key=str)})}")
    if not {201, 400, 401, 404}.issubset(seen):
        sys.exit("too little was reached for this to prove anything")


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
