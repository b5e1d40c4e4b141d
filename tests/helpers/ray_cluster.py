"""A real Ray cluster on this machine, of several processes on loopback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ray_cluster() -> Iterator[str]:
    """Start two nodes of one core each, with processes of their own; yield the address that a driver connects to."""
    from ray.cluster_utils import Cluster

    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }  # a busy machine starves the nice
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the workers
    options = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=options)
    try:
        found.add_node(**options)
        yield found.address
    finally:
        found.shutdown()
