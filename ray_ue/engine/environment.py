"""The environment of a local Ray: it must be set before Ray is imported, so this module never imports it."""

import os
import secrets
import sys

OOM_RETRIES = 5  # of a task that Ray ends because memory runs out; Ray's own number has no end

# A local Ray starts for one person on one machine: fast polls, few processes, and nothing that outlives it.
LOCAL = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # otherwise each report costs up to 2 s
    # With the default, on two cores idle workers die after a second; each holds 200 to 500 MB, so no more than can work at once.
    "RAY_num_workers_soft_limit": str((os.cpu_count() or 1) + 3),
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # Each Ray Train run brings about eight small processes; Ray warns when more than four times this many start.
    "RAY_worker_maximum_startup_concurrency": str(4 * (os.cpu_count() or 1)),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # otherwise a thread that is late would start another Ray once this one has ended
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # its C++ core writes internal notes to the user's terminal; errors still arrive as exceptions
}


def joins_a_cluster() -> bool:
    """Whether this process belongs to a running Ray cluster: a submitted job, or RAY_ADDRESS."""
    return bool(os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_JOB_ID"))


def prepare() -> None:
    """Set up a local Ray before its import. What the user has set stays; joining a cluster changes nothing but what is ours to say."""
    if "ray" in sys.modules:
        return
    os.environ.setdefault("RAY_task_oom_retries", str(OOM_RETRIES))
    if joins_a_cluster():
        return
    for name, value in LOCAL.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" not in os.environ:
        # Ray's ports listen on every interface: a secret of this process alone guards them, and no file is left in the home folder.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
