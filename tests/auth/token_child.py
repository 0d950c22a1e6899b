"""A worker process that gets a source's token, in several threads at once, when it reads a line."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from sluice.auth import Tokens, Vault
from sluice.catalog import Catalog
from sluice.crypto import MasterKeys
from sluice.model import AuthorizationCode, Connection

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    catalog = Catalog(asked["url"], asked["tenant"])
    tokens = Tokens(catalog, Vault(catalog, MasterKeys({"first": bytes.fromhex(asked["key"])})))
    auth = AuthorizationCode(
        connection="crm", authorize_url=asked["authorize_url"], token_url=asked["token_url"]
    )
    client = Connection(name="crm", login="sluice-tests", password="a-made-up-client-secret")
    print("ready", flush=True)  # noqa: T201  # the parent reads it
    sys.stdin.readline()
    workers = int(asked["threads"])
    with ThreadPoolExecutor(workers) as pool:
        for token in pool.map(lambda _: tokens.access("crm", auth, client), range(workers)):
            print(token, flush=True)  # noqa: T201  # as above
    if workers == 1:
        time.sleep(60)  # until it is killed
