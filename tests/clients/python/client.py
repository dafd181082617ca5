"""py-eureka-client, unchanged: registers, renews and follows, and tells what it sees.

Arguments: base URLs (with commas), app, instance id, port. Prints {"view": {id: status}} whenever its
own applications change; "override STATUS", "clear" and "leave" on standard input use its own calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time

from py_eureka_client import eureka_client


def tell(client: eureka_client.EurekaClient) -> None:
    """Print every change of what the client knows."""
    told = ""
    while True:
        apps = client.applications.applications if client.applications else []
        view = {instance.instanceId: instance.status for app in apps for instance in app.instances}
        line = json.dumps({"view": view}, sort_keys=True)
        if line != told:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        told = line
        time.sleep(0.05)


def main() -> None:
    """Run until told to leave."""
    urls, app, instance_id, port = sys.argv[1:]
    client = eureka_client.init(
        eureka_server=",".join(f"{url}/eureka/" for url in urls.split(",")),
        app_name=app,
        instance_id=instance_id,
        instance_host="127.0.0.1",
        instance_ip="127.0.0.1",
        instance_port=int(port),
        renewal_interval_in_secs=0.3,
        duration_in_secs=10,
        vip_adr=app.lower(),
        metadata={"language": "python"},
    )
    threading.Thread(target=tell, args=(client,), daemon=True).start()
    for line in sys.stdin:
        match line.split():
            case ["override", status]:
                asyncio.run(client.status_update(status))
            case ["clear"]:
                asyncio.run(client.delete_status_override())
            case ["leave"]:
                eureka_client.stop()
                os._exit(0)  # its heartbeat thread has no end
            case _:
                raise ValueError(line)


main()
