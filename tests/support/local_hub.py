# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A small Hub on loopback that the true `huggingface_hub` client talks to through `HF_ENDPOINT`.

Repositories of models with commits; uploads in the commit itself, through LFS in one part, or in several; downloads
with ETag and ranges; one good token. It can break connections in the middle of a transfer. All of it stays in memory.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


TOKEN = "hf_goodtokenofthetests"
USER = "tester"
PART = 64 * 1024  # larger files come in several parts of this size
IN_COMMIT = (".json", ".md", ".py", ".txt", ".gitattributes")


@dataclass
class Repository:
    """Commits, oldest first: (id, message, {path: content})."""

    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)

    def at(self, revision: str) -> tuple[str, str, dict[str, bytes]]:
        if revision == "main":
            return self.commits[-1]
        return next(commit for commit in self.commits if commit[0] == revision)

    def commit(self, message: str, added: dict[str, bytes], deleted: list[str]) -> str:
        files = dict(self.commits[-1][2]) if self.commits else {}
        files = {path: content for path, content in files.items() if path not in deleted} | added
        identity = json.dumps([len(self.commits), message, sorted(files)])
        self.commits.append((hashlib.sha1(identity.encode()).hexdigest(), message, files))
        return self.commits[-1][0]


class LocalHub:
    """`with LocalHub() as hub:` serves at `hub.url`, at a `port` that is free or this one, until the block ends.

    Attributes:
        repositories: by name, `user/name`.
        requests: `METHOD path` of every request so far.
        break_uploads, break_downloads: how many transfers of large files are still to be cut off half-way.
    """

    def __init__(self, port: int = 0) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.break_uploads = self.break_downloads = 0
        hub = self

        class Handler(Request):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "LocalHub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.server.shutdown()
        self.server.server_close()


def is_lfs(path: str) -> bool:
    return not path.endswith(IN_COMMIT)


def etag_of(path: str, content: bytes) -> str:
    if is_lfs(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Request(BaseHTTPRequestHandler):
    """One request; `ROUTES` says which method answers it."""

    protocol_version = "HTTP/1.1"
    server_hub: LocalHub

    def log_message(self, *args) -> None:
        pass

    def answer(self) -> None:
        hub, path = self.server_hub, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        for methods, pattern, name, needs_token in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in methods:
                if needs_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self.read()
                    return self.fail(401, "Invalid username or password.")
                try:
                    return getattr(self, name)(*match.groups())
                except (KeyError, StopIteration):
                    return self.fail(404, f"{path} was not found", "RepoNotFound")
        self.read()
        return self.fail(404, f"{self.command} {path} is not served here", "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def read(self, half: bool = False) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        length = int(self.headers.get("Content-Length", 0))
        return self.rfile.read(length // 2 if half else length)

    def send(self, content, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if body is content else "application/json")
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, message: str, code: str | None = None) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.send({"error": message}, status, headers)

    def break_off(self) -> None:
        self.close_connection = True
        self.connection.close()

    def whoami(self) -> None:
        self.send({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def validate_card(self) -> None:
        self.read()
        self.send({"errors": [], "warnings": []})

    def create(self) -> None:
        wanted = json.loads(self.read())
        name = f"{wanted.get('organization') or USER}/{wanted['name']}"
        exists = name in self.server_hub.repositories
        if not exists:
            self.server_hub.repositories[name] = Repository()
            self.server_hub.repositories[name].commit("initial commit", {}, [])
        self.send({"url": f"{self.server_hub.url}/{name}", "id": name}, 409 if exists else 200)

    def preupload(self, name: str) -> None:
        there = self.server_hub.repositories[name].at("main")[2]
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if is_lfs(file["path"]) else "regular",
                "shouldIgnore": False,
                "oid": etag_of(file["path"], there[file["path"]]) if file["path"] in there else None,
            }
            for file in json.loads(self.read())["files"]
        ]
        self.send({"files": files})

    def lfs_batch(self, name: str) -> None:
        objects, transfer = [], "basic"
        for wanted in json.loads(self.read())["objects"]:
            oid, url = wanted["oid"], f"{self.server_hub.url}/lfs/{wanted['oid']}"
            action: dict = {"href": url}
            if wanted["size"] > PART:
                transfer = "multipart"
                count = -(-wanted["size"] // PART)
                parts = {str(number): f"{url}/{number}" for number in range(1, count + 1)}
                action = {"href": f"{url}/complete", "header": {"chunk_size": str(PART), **parts}}
            known = oid in self.server_hub.blobs
            objects.append({**wanted, **({} if known else {"actions": {"upload": action}})})
        self.send({"transfer": transfer, "objects": objects})

    def lfs_upload(self, oid: str) -> None:
        content = self.read()
        if hashlib.sha256(content).hexdigest() != oid:
            return self.fail(400, "the content has another SHA-256")
        self.server_hub.blobs[oid] = content
        return self.send({})

    def lfs_part(self, oid: str, number: str) -> None:
        if self.server_hub.break_uploads:
            self.server_hub.break_uploads -= 1
            self.read(half=True)
            return self.break_off()
        self.server_hub.parts.setdefault(oid, {})[int(number)] = self.read()
        return self.send({}, headers={"ETag": f"part-{number}"})

    def lfs_complete(self, oid: str) -> None:
        listed = [part["partNumber"] for part in json.loads(self.read())["parts"]]
        content = b"".join(self.server_hub.parts[oid][number] for number in listed)
        if hashlib.sha256(content).hexdigest() != oid:
            return self.fail(400, "the parts together have another SHA-256")
        self.server_hub.blobs[oid] = content
        return self.send({})

    def make_commit(self, name: str) -> None:
        added, deleted, message = {}, [], ""
        for line in self.read().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                added[value["path"]] = self.server_hub.blobs[value["oid"]]
            else:
                deleted.append(value["path"])
        oid = self.server_hub.repositories[name].commit(message, added, deleted)
        self.send({"success": True, "commitOid": oid, "commitUrl": f"{self.server_hub.url}/{name}/commit/{oid}"})

    def tree(self, name: str, revision: str) -> None:
        entries = []
        for path, content in self.server_hub.repositories[name].at(revision)[2].items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": etag_of(path, content)}
            if is_lfs(path):
                entry["lfs"] = {"oid": etag_of(path, content), "size": len(content), "pointerSize": 134}
            entries.append(entry)
        self.send(entries)

    def info(self, name: str, revision: str | None) -> None:
        oid, _, files = self.server_hub.repositories[name].at(revision or "main")
        siblings = [{"rfilename": path} for path in files]
        self.send({"id": name, "modelId": name, "sha": oid, "private": False, "tags": [], "siblings": siblings})

    def resolve(self, name: str, revision: str, path: str) -> None:
        oid, _, files = self.server_hub.repositories[name].at(revision)
        if path not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": oid}
            return self.send({"error": f"{path} was not found"}, 404, headers)
        content, etag = files[path], f'"{etag_of(path, files[path])}"'
        headers = {"ETag": etag, "X-Repo-Commit": oid, "Accept-Ranges": "bytes"}
        if is_lfs(path):
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
        begin, status = 0, 200
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            begin, status = int(asked[1]), 206
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        if self.command == "GET" and len(content) > PART and self.server_hub.break_downloads:
            self.server_hub.break_downloads -= 1
            self.send_response(status)
            for header, value in {"Content-Length": str(len(content) - begin), **headers}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(content[begin : (begin + len(content)) // 2])
            return self.break_off()
        return self.send(content[begin:], status, headers)


NAME, REVISION = r"([\w.-]+/[\w.-]+)", r"([\w.-]+)"
# methods, path, what answers, whether the token is needed
ROUTES = [
    (("GET",), r"/api/whoami-v2", "whoami", True),
    (("POST",), r"/api/validate-yaml", "validate_card", False),
    (("POST",), r"/api/repos/create", "create", True),
    (("POST",), rf"/api/models/{NAME}/preupload/main", "preupload", True),
    (("POST",), rf"/{NAME}\.git/info/lfs/objects/batch", "lfs_batch", True),
    (("PUT",), r"/lfs/([0-9a-f]{64})", "lfs_upload", False),
    (("PUT",), r"/lfs/([0-9a-f]{64})/(\d+)", "lfs_part", False),
    (("POST",), r"/lfs/([0-9a-f]{64})/complete", "lfs_complete", False),
    (("POST",), rf"/api/models/{NAME}/commit/main", "make_commit", True),
    (("GET",), rf"/api/models/{NAME}/tree/{REVISION}/?", "tree", False),
    (("GET",), rf"/api/models/{NAME}(?:/revision/{REVISION})?", "info", False),
    (("GET", "HEAD"), rf"/{NAME}/resolve/{REVISION}/(.+)", "resolve", False),
]
