"""What is served, and what browsers send: made anew for each run, the same in each, since every draw is seeded.

Contents are random bytes where nobody is to compress them: a server that does would send fewer bytes than another.
The one file that all may compress is the script.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

DOMAIN = "bench.localhost"
PAGES = 20
PAGE_BYTES = 1024
IMAGE = "/media/image.webp"  # 100 KB
SCRIPT = "/assets/script.js"  # 100 KB, compressible; a folder of its own, so that a peer can treat it specially
VIDEO = "/media/video.mp4"  # 10 MB
KB, MB = 1024, 1024 * 1024
BROWSERS = 1000
NUMBER_DIGITS = 10  # of a number that stands in a request, so that all are equally long
SEED = 20260101


def page_path(number: int) -> str:
    """The path of page `number`, from 1."""
    return f"/page-{number:02}.html"


def host_name(number: int) -> str:
    """The domain of site `number`, from 0."""
    return f"www.site-{number:0{NUMBER_DIGITS}}.example"


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files on disk.

    `published` is a site as its author has it. `static` is the same with `.br` and `.gz` beside the script, as servers
    want it that compress nothing themselves. `many` has a folder for each of `hosts` hosts, named after it.
    """

    directory: Path
    hosts: int

    @property
    def published(self) -> Path:
        return self.directory / "published"

    @property
    def static(self) -> Path:
        return self.directory / "static"

    @property
    def many(self) -> Path:
        return self.directory / "many"

    def host_names(self, hosts: int) -> list[str]:
        """The first `hosts` of them."""
        return [host_name(number) for number in range(hosts)]

    def content(self, host: str, path: str) -> bytes:
        """What `path` of `host` is to answer; of a path that does not exist, the site's 404 page."""
        root = self.published if host == DOMAIN else self.many / host
        file = root / (path.lstrip("/") or "index.html")
        return (file if file.is_file() else root / "404.html").read_bytes()


def make_corpus(directory: Path, hosts: int) -> Corpus:
    """Write the files below `directory`, which is there and empty."""
    corpus = Corpus(directory, hosts)
    draw = random.Random(SEED)
    files = {page_path(number): draw.randbytes(PAGE_BYTES) for number in range(1, PAGES + 1)}
    files |= {"/index.html": draw.randbytes(PAGE_BYTES), "/404.html": draw.randbytes(PAGE_BYTES)}
    files |= {IMAGE: draw.randbytes(100 * KB), VIDEO: draw.randbytes(10 * MB), SCRIPT: make_script(draw, 100 * KB)}
    for path, content in files.items():
        for root in (corpus.published, corpus.static):
            file = root / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    for name, coding in (("br", compress_brotli), ("gz", compress_gzip)):
        compressed = coding(files[SCRIPT])
        if compressed is not None:
            (corpus.static / f"{SCRIPT[1:]}.{name}").write_bytes(compressed)
    for host in corpus.host_names(hosts):
        (corpus.many / host).mkdir(parents=True)
        # Each its own, so that an answer from another's site cannot pass.
        (corpus.many / host / "index.html").write_bytes(random.Random(host).randbytes(PAGE_BYTES))
    return corpus


def make_script(draw: random.Random, size: int) -> bytes:
    """JavaScript of a sort, `size` bytes, which compresses to about a quarter, as minified scripts do."""
    names = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(1, 9))) for _ in range(500)]
    shapes = (
        "const {}={}.{};",
        "if({}==={})return {};",
        "{}.{}({},{});",
        "function {}({},{}){{",
        "}}return {}.{}||{}",
        "{}+{},",
    )
    popular = [1 / rank for rank in range(1, len(names) + 1)]
    parts: list[str] = []
    length = 0
    while length < size:
        parts.append(draw.choice(shapes).format(*draw.choices(names, popular, k=4)))
        length += len(parts[-1])
    return "".join(parts).encode()[:size]


def compress_gzip(content: bytes) -> bytes:
    """At gzip's best, and without the time, so that it is the same each time."""
    import gzip

    return gzip.compress(content, 9, mtime=0)


def compress_brotli(content: bytes) -> bytes | None:
    """At brotli's best; None without the library."""
    try:
        import brotli
    except ModuleNotFoundError:
        return None
    compressed: bytes = brotli.compress(content, quality=11)
    return compressed


def zipf(count: int, draws: int) -> Sequence[int]:
    """`draws` numbers below `count`, each as often as its rank's share in Zipf's law with exponent 1."""
    weights = list(accumulate(1 / rank for rank in range(1, count + 1)))
    return random.Random(SEED).choices(range(count), cum_weights=weights, k=draws)


def browser_heads(count: int = BROWSERS) -> Iterator[bytes]:
    """The header lines of `count` different browsers, without Host and the empty line at the end.

    They are what current browsers send for a page of a site that has given them cookies: 600 to 800 bytes.
    """
    draw = random.Random(SEED)
    for number in range(count):
        yield _lines(_chrome(draw) if number % 3 else _firefox(draw), draw)


def _chrome(draw: random.Random) -> list[str]:
    major = draw.randint(118, 142)
    system, platform = draw.choice(
        [
            ("Windows NT 10.0; Win64; x64", "Windows"),
            ("Macintosh; Intel Mac OS X 10_15_7", "macOS"),
            ("X11; Linux x86_64", "Linux"),
            (f"Linux; Android {draw.randint(9, 15)}; K", "Android"),
        ]
    )
    mobile = platform == "Android"
    agent = f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0"
    return [
        "Connection: keep-alive",
        f'sec-ch-ua: "Chromium";v="{major}", "Google Chrome";v="{major}", "Not?A_Brand";v="99"',
        f"sec-ch-ua-mobile: ?{int(mobile)}",
        f'sec-ch-ua-platform: "{platform}"',
        "Upgrade-Insecure-Requests: 1",
        f"User-Agent: {agent}{' Mobile' * mobile} Safari/537.36",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-User: ?1",
        "Sec-Fetch-Dest: document",
        "Accept-Encoding: gzip, deflate, br, zstd",
    ]


def _firefox(draw: random.Random) -> list[str]:
    version = draw.randint(115, 146)
    system = draw.choice(["X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10.15"])
    return [
        f"User-Agent: Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Connection: keep-alive",
        "Upgrade-Insecure-Requests: 1",
        "Sec-Fetch-Dest: document",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Site: same-origin",
        "Priority: u=0, i",
    ]


def _lines(lines: list[str], draw: random.Random) -> bytes:
    language = draw.choice(["en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.7", "fr,fr-FR;q=0.8,en-US;q=0.5,en;q=0.3", "ja"])
    visit, session = draw.randint(10**9, 10**10 - 1), draw.randbytes(16).hex()
    cookie = f"_ga=GA1.1.{visit}.{draw.randint(1_700_000_000, 1_790_000_000)}; sid={session}; consent=1"
    return "".join(f"{line}\r\n" for line in [*lines, f"Accept-Language: {language}", f"Cookie: {cookie}"]).encode()
