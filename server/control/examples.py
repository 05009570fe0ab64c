"""Examples for the OpenAPI document: of each parameter by its name, of each body and answer by its schema's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.control import explanations

_SPACE = "space_01kq3v5x9fym7c0k2tq8d5n4jw6ah1z3be9g"
_SITE = "site_01kq3v6b2hm4s8d0r1x5y7w9c3kf6ta2ne8z"
_DEPLOYMENT = "deployment_01kq3v7d5jq9w2e4t6y8m0n1b3xc5zahs7fk"
_WORKSPACE = "workspace_01kq3v9g4ns7y0h2x5z8q1r3d6wf9bc4mkt2"
_AUDIT = "audit_01kq3va7t2vm6j9x1z4c8n3r5fyh0dw2bgqs"
_KEY = "key_01kq3v8f7kr1x3f5v7z9n2p4c6yd8ab0jtg5"
_DIGEST = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
_CREATED, _UPDATED = "2026-11-22T10:00:00.000Z", "2026-11-22T10:05:00.000Z"

_SITE_CONFIG = {
    "id": "widget_01kq3vb3w9xn5k8z2c6f0h4j7mrt1dae9gps",
    "site_id": "ab1c2d3e4f",
    "business_name": "Ember & Oak",
    "business_description": "",
    "domain": "emberandoak.com",
    "industry": "restaurant",
    "voice": "shimmer",
    "personality": "You are a friendly concierge at Ember & Oak.",
    "greeting": "Welcome! Would you like to book a table?",
    "appearance": {"color": "#b45309", "position": "bottom-center", "size": "large", "edge_glow": True},
    "timezone": "America/Los_Angeles",
    "enabled_pages": ["/*"],
    "disabled_pages": ["/checkout*"],
    "restricted_topics": [],
    "pronunciations": [{"word": "Ember & Oak", "say_as": "EM-ber and oak"}],
    "language": "en",
    "created_at": _CREATED,
    "updated_at": _UPDATED,
}

_ACME = {
    "id": _WORKSPACE,
    "alias": "acme",
    "name": "Acme",
    "maxSites": 50,
    "maxFiles": None,
    "maxBytes": None,
    "maxWidgets": None,
    "requestsPerMinute": None,
    "createdAt": _CREATED,
    "updatedAt": _UPDATED,
}

_PROBLEM = {
    "file": "public/_redirects",
    "line": 3,
    "text": "/a /b 999",
    "reason": "999 is no status that a rule can give",
    "leftOut": True,
}

PARAMETERS: Mapping[str, Any] = {
    "spaceId": "@docs",
    "siteId": "@manual",
    "deploymentId": _DEPLOYMENT,
    "keyId": _KEY,
    "workspaceId": _WORKSPACE,
    "workspace": "@acme",
    "kind": "site",
    "id": _SITE,
    "action": "site.update",
    "Idempotency-Key": "8f14e45f-ceea-467f-a0e6-b4b4f1c2c0d3",
    "ref": "ab1c2d3e4f",
    "offset": 0,
    "q": "oak",
    "path": "guide/index.html",
    "digest": _DIGEST,
    "contactId": "contact_abc123",
    "domain": "docs.example.com",
    "cursor": "",
    "order": "desc",
    "take": 20,
    "limit": 20,
    "recursive": True,
    "meta": {"tier": "gold"},
    "expires": 1795341600,
    "signature": _DIGEST,
    "seconds": 86_400,
    "url": "/guide/?from=mail",
    "header": ["Accept-Language: de"],
    "method": "GET",
    "mode": "replace",
    "prefix": "/public",
    "message": "Spring",
    "strip": 1,
    "activate": True,
    "base": 41,
    "against": _DEPLOYMENT,
}

EXAMPLES: Mapping[str, Any] = {
    "SpaceFields": {"alias": "docs", "name": "Documentation", "meta": {"tier": "gold"}},
    "NewSiteFields": {"domain": "docs.example.com", "alias": "manual", "prefix": "/public"},
    "SiteFields": {"prefix": "/v2", "index": None},
    "NewDeploymentFields": {"files": {"index.html": {"digest": _DIGEST, "size": 5}}, "mode": "replace"},
    "NewKeyFields": {"name": "ci", "scopes": ["files:write"], "expiresAt": "2036-01-31T12:00:00Z"},
    "TokenFields": {"scopes": ["files:write"], "spaces": ["@docs"], "expiresAt": None},
    "WorkspaceFields": {"alias": "acme", "name": "Acme", "maxSites": 50},
    "Destination": {"destinationPath": "archive/index.html"},
    "DeleteFields": {"recursive": True},
    "DataUrl": {"file": "data:text/html;base64,aGVsbG8="},
    "NoFields": {},
    "NewSiteConfig": {
        "business_name": "Ember & Oak",
        "domain": "emberandoak.com",
        "industry": "restaurant",
        "timezone": "America/Los_Angeles",
        "language": "en",
    },
    "SiteConfigPatch": {
        "personality": "You are a friendly concierge at Ember & Oak.",
        "pronunciations": [{"word": "Ember & Oak", "say_as": "EM-ber and oak"}],
    },
    "Answer_SiteConfigView_": {"success": True, "data": _SITE_CONFIG},
    "ListAnswer_SiteConfigView_": {
        "success": True,
        "data": [_SITE_CONFIG],
        "meta": {"total": 1, "limit": 25, "offset": 0},
    },
    "Answer_ConnectionTestView_": {"success": True, "data": {"ok": True, "latency_ms": 42}},
    "IdView": {"id": _SPACE},
    "PathView": {"id": "Z3VpZGUvaW5kZXguaHRtbA", "path": "guide/index.html"},
    "LinkView": {
        "id": "Z3VpZGUvaW5kZXguaHRtbA",
        "url": f"http://127.0.0.1:8081/api/v1/space/{_SPACE}/storage/signed/guide/index.html?expires=1795341600"
        f"&signature={_DIGEST}",
    },
    "SpaceView": {
        "id": _SPACE,
        "alias": "docs",
        "name": "Documentation",
        "description": "",
        "contactId": None,
        "meta": {"tier": "gold"},
        "createdAt": _CREATED,
        "updatedAt": _UPDATED,
    },
    "SiteView": {
        "id": _SITE,
        "spaceId": _SPACE,
        "alias": "manual",
        "name": "",
        "description": "",
        "domain": "docs.example.com",
        "prefix": "/public",
        "index": "index.html",
        "notFound": "404.html",
        "previews": "private",
        "skewProtection": True,
        "meta": {},
        "createdAt": _CREATED,
        "updatedAt": _UPDATED,
    },
    "SiteStatusView": {
        "id": _SITE,
        "domain": "docs.example.com",
        "index": {"path": "public/index.html", "exists": True},
        "notFound": {"path": "public/404.html", "exists": False},
        "dns": {"state": "found", "addresses": ["192.0.2.1"]},
        "certificate": {"state": "valid", "expiresAt": "2027-02-20T10:00:00.000Z"},
        "workers": [{"name": "worker-0", "state": "serving", "applied": True}],
        "problems": [_PROBLEM],
        "previews": {
            "access": "private",
            "host": "{deployment}--docs-example-com--01kq3v6b2hm4s8d0.pages.example.net",
        },
        "unlisted": 0,
    },
    "ExplanationView": explanations.EXAMPLE,
    "EntryView": {
        "id": "Z3VpZGUvaW5kZXguaHRtbA",
        "path": "guide/index.html",
        "size": 5,
        "updatedAt": _UPDATED,
        "isDirectory": False,
        "contentType": "text/html; charset=utf-8",
        "digest": _DIGEST,
    },
    "DeploymentView": {
        "id": _DEPLOYMENT,
        "spaceId": _SPACE,
        "mode": "replace",
        "prefix": "",
        "message": "Spring",
        "base": 41,
        "fileCount": 1,
        "byteCount": 5,
        "revision": None,
        "createdAt": _CREATED,
        "activatedAt": None,
    },
    "NewDeploymentView": {"id": _DEPLOYMENT, "missing": [_DIGEST], "base": 41},
    "MissingView": {"id": _DEPLOYMENT, "missing": [_DIGEST]},
    "TakenView": {"id": _DEPLOYMENT, "taken": [_DIGEST]},
    "ActivatedView": {"id": _DEPLOYMENT, "revision": 42, "problems": [_PROBLEM], "unlisted": 0},
    "UploadView": {
        "id": _DEPLOYMENT,
        "revision": 42,
        "fileCount": 120,
        "byteCount": 4_500_000,
        "newCount": 3,
        "newBytes": 20_000,
        "skipped": 1,
        "problems": [],
        "unlisted": 0,
    },
    "DiffView": {
        "id": _DEPLOYMENT,
        "against": None,
        "added": {"total": 1, "items": [{"path": "public/team.html", "size": 512}]},
        "changed": {"total": 0, "items": []},
        "removed": {"total": 1, "items": [{"path": "public/about.html", "size": 512}]},
        "broken": {
            "total": 1,
            "items": [
                {
                    "site": _SITE,
                    "domain": "docs.example.com",
                    "url": "/about",
                    "also": ["/about.html"],
                    "file": "public/about.html",
                    "requests": 17,
                }
            ],
        },
        "moved": {
            "total": 1,
            "items": [
                {
                    "old": "public/about.html",
                    "new": "public/team.html",
                    "rules": ["/about /team 301", "/about.html /team 301"],
                }
            ],
        },
        "trafficSince": _CREATED,
        "problems": [],
        "unlisted": 0,
    },
    "PreviewView": {
        "url": "https://01kq3v7d5jq9w2e4t6y8--docs-example-com--01kq3v6b2hm4s8d0.pages.example.net/?spacelane-preview="
        f"1795946400.{_DIGEST}",
        "access": "private",
        "expiresAt": "2026-11-29T10:00:00.000Z",
    },
    "KeyView": {
        "id": _KEY,
        "name": "ci",
        "scopes": ["files:write"],
        "dialect": "spacelane",
        "createdAt": _CREATED,
        "expiresAt": None,
        "revokedAt": None,
        "lastUsedAt": _UPDATED,
    },
    "WorkspaceView": _ACME,
    "WorkspaceUseView": {**_ACME, "usage": {"sites": 3, "files": 120, "bytes": 4_500_000, "widgets": 1}},
    "AuditView": {
        "id": _AUDIT,
        "actor": {"kind": "key", "keyId": _KEY},
        "requestId": "b1946ac92492d2347c6235b4d2611184",
        "action": "site.update",
        "kind": "site",
        "objectId": _SITE,
        "spaceId": _SPACE,
        "before": {"prefix": ""},
        "after": {"prefix": "/v2"},
        "createdAt": _UPDATED,
    },
    "NewTokenView": {"token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x", "expiresAt": _UPDATED},
    "NewKeyView": {"id": _KEY, "secret": "sk-" + "x" * 43},
}
