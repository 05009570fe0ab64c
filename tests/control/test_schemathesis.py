"""The running API is what its OpenAPI document says: no other status, header or shape, and no failure."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import Serve

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("SPACELANE_TEST_EXAMPLES", "4"))  # an operation and phase; 500 take about an hour
CONFIG = Path(__file__).with_name("schemathesis.toml")
DIGEST = hashlib.sha256(b"").hexdigest()
SITE_CONFIG = {"business_name": "Ember & Oak", "domain": "emberandoak.com", "site_id": "emberandoak"}
KEY = "sk-the-key-of-this-test"


@pytest.mark.timeout(7200)
def test_the_server_does_as_its_document_says(tmp_path: Path) -> None:
    seed = os.environ.get("SPACELANE_TEST_SEED", "1")
    with Serve(tmp_path / "data", SPACELANE_ROOT_KEY=KEY) as serve:
        space = serve.post("space/create", {"alias": "docs", "meta": {"tier": "gold"}})["id"]
        for path in ("index.html", "guide/index.html"):
            serve.upload(space, path, b"hello")
        serve.post(f"space/{space}/site/create", {"domain": "docs.localhost", "alias": "manual"})
        serve.api.post("/v1/sites", json=SITE_CONFIG).raise_for_status()
        files = {"new.html": {"digest": DIGEST, "size": 0}}
        deployment = serve.post(f"space/{space}/deployment/create", {"files": files})["id"]
        config = tmp_path / CONFIG.name
        config.write_text(CONFIG.read_text().replace("DEPLOYMENT", deployment).replace("DIGEST", DIGEST))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
        command += [f"{serve.control}/openapi.json", "--header", f"Authorization: Bearer {KEY}", "--checks", "all"]
        command += ["--seed", seed, "--max-examples", str(EXAMPLES), "--no-color"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=7000, check=False)
        failures = [entry for entry in serve.log if "control.failure" in entry]
    print(done.stdout[-20_000:])
    assert done.returncode == 0, done.stderr
    assert failures == []
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated
    assert int(generated[1]) > 34 * EXAMPLES
