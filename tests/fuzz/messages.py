"""要发的字节：两种解释都说得通的（走私靠的就是它）、只是难看的、随机改坏的、没有说完的。"""

from __future__ import annotations

from random import Random

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b'{"username":"a","email":"x","password":"y"}'
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LARGE = 200_000
# 改坏时爱插的
PIECES = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b"\xff", b":", b" ", b"\t", b";", b"%", b"0", b"\x0b", b'"', b",",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 7\r\n", b"Content-Length: 0\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"Content-Encoding: gzip\r\n", b"HTTP/1.1", b"ffffffff\r\n",
)  # fmt: skip


def posting(token: str) -> bytes:
    return (
        b"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + token.encode() + b"\r\n"
    )


def ambiguous(token: str) -> dict[str, bytes]:
    """必须拒绝并断开：后面藏着的那个请求，前面的代理也许当作正文。"""
    post = posting(token)
    lengths = (b"+4", b"-1", b"0x4", b"4,4", b"4, 5", b"4_0", b"", b"\xb2", b"9" * 23, b"1e3", b"\x0b4")
    codings = (
        b"xchunked",
        b"\x0bchunked",
        b'"chunked"',
        b"chunked;q=1",
        b"chunked, identity",
        b"chunked, chunked",
        b"identity",
    )
    sizes = (b"-5", b"0x5", b"+5", b"f" * 20, b"1_0", b" 5", b"5 ", b"", b"5;a\nb")
    return {
        "length and chunks": post + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
        "chunks and length": post + CHUNKED + b"Content-Length: 4\r\n\r\n5c\r\n" + HIDDEN + b"\r\n0\r\n\r\n",
        "two codings": post + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
        "folded coding": post + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        "coding with NUL": post + b"Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n" + HIDDEN,
        "blank before colon": post + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        "length, blank before colon": post + b"Content-Length : 4\r\n\r\nabcd" + HIDDEN,
        "two lengths": post + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\nabcd" + HIDDEN,
        "bare LF": b"GET /health/live HTTP/1.1\nHost: x\n\n" + HIDDEN,
        "bare CR": b"GET /health/live HTTP/1.1\rHost: x\r\r" + HIDDEN,
        "value with CR": LIVE + b"X: a\rb\r\n\r\n" + HIDDEN,
        "value with NUL": LIVE + b"X: a\x00b\r\n\r\n" + HIDDEN,
        "chunk without end": post + CHUNKED + b"\r\n5\r\nhello0\r\n\r\n" + HIDDEN,
        "chunks of bare LF": post + CHUNKED + b"\r\n5\nhello\n0\n\n" + HIDDEN,
        **{f"length {value!r}": post + b"Content-Length: " + value + b"\r\n\r\nabcd" + HIDDEN for value in lengths},
        **{
            f"coding {value!r}": post + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n" + HIDDEN
            for value in codings
        },
        **{
            f"chunk size {value!r}": post + CHUNKED + b"\r\n" + value + b"\r\nhello\r\n0\r\n\r\n" + HIDDEN
            for value in sizes
        },
    }


def awkward(token: str) -> dict[str, bytes]:
    """收不收都行，不许 5xx，也不许占着内存。"""
    post = posting(token)
    methods = (b"TRACE", b"CONNECT", b"OPTIONS", b"PROPFIND", b"PRI", b"get", b"G\xc3\xa9T", b"M-SEARCH", b"A" * 20_000)
    targets = (
        b"*",
        b"http://evil/api/v1/users",
        b"evil:80",
        b"//etc/passwd",
        b"/..%2f..%2fetc/passwd",
        b"/%00",
        b"/\xff",
        b"/[",
        b"/" + b"a" * 17_000,
        b"?a",
        b"/;a=b",
        b"/api/v1/users?" + b"a=1&" * 3_000,
        b"/monitor/static/%2e%2e/%2e%2e/",
    )
    versions = (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"http/1.1", b"", b"HTTP/1.1 x", b"JUNK")
    return {
        "100 KB of chunk extension": post + CHUNKED + b"\r\n5;" + b"a" * LARGE + b"\r\nhello\r\n0\r\n\r\n",
        "chunks of one byte": post + CHUNKED + b"\r\n" + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n",
        "huge trailer": post + CHUNKED + b"\r\n0\r\nX: " + b"a" * LARGE + b"\r\n\r\n",
        "many trailers": post + CHUNKED + b"\r\n0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        "10 MB header": LIVE + b"X: " + b"a" * 10_000_000 + b"\r\n\r\n",
        "100 000 headers": LIVE + b"a:b\r\n" * 100_000 + b"\r\n",
        "long header name": LIVE + b"a" * 20_000 + b": b\r\n\r\n",
        "500 pipelined": (LIVE + b"\r\n") * 500,
        "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "no host": b"GET / HTTP/1.1\r\n\r\n",
        "gzip that is none": post + b"Content-Encoding: gzip\r\nContent-Length: 43\r\n\r\n" + BODY,
        "TLS at a clear port": bytes.fromhex("16030100f8010000f40303") + b"\x55" * 200,
        **{f"method {value[:20]!r}": value + b" /api/v1/users HTTP/1.1\r\nHost: x\r\n\r\n" for value in methods},
        **{f"target {value[:20]!r}": b"GET " + value + b" HTTP/1.1\r\nHost: x\r\n\r\n" for value in targets},
        **{f"version {value!r}": b"GET /health/live " + value + b"\r\nHost: x\r\n\r\n" for value in versions},
    }


def mutated(random: Random, token: str) -> bytes:
    """好好的一个请求，改坏一到四处。"""
    length = b"Content-Length: %d\r\n" % len(BODY)
    message = bytearray(
        random.choice(
            (
                posting(token) + length + b"\r\n" + BODY,
                posting(token) + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n",
                posting(token).replace(b"POST", b"GET") + b"\r\n",
                b"GET /console/tasks?status=failed HTTP/1.1\r\nHost: x\r\nCookie: kaguan_session="
                + b"a" * 43
                + b"\r\n\r\n",
                b"POST /console/login HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nContent-Length: 7\r\n\r\ntoken=a",
            )
        )
    )
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(message))
        match random.randrange(4):
            case 0:
                message[place:place] = random.choice(PIECES)
            case 1:
                message[place] = random.randrange(256)
            case 2:
                del message[place : place + random.randint(1, 8)]
            case _:
                message[place:place] = message[max(0, place - 10) : place] * random.randint(1, 3)
        message = message or bytearray(b"\r\n")
    return bytes(message)


def unfinished(token: str) -> list[bytes]:
    """没有说完的：什么也没说、头、正文、分块的扩展、第二个请求。之后一个字节一个字节地来。"""
    return [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        posting(token) + b"Content-Length: 5000\r\n\r\n{",
        b"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{",
        posting(token) + CHUNKED + b"\r\n5;",
        LIVE + b"\r\nGET / HTTP/1.1\r\nX: ",
    ]
