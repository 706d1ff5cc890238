"""A Ray cluster of one machine for tests: ``python -m tests.backends.cluster``, until its input ends.

It prints its address; each line that it reads adds a node ("add") or kills the newest but the first ("kill").
"""

from __future__ import annotations

import sys

import ray
from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    added = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(added.pop(), allow_graceful=False)
        else:
            added.append(cluster.add_node(num_cpus=2))
        print("done", flush=True)
    cluster.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
