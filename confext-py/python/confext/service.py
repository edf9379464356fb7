"""The extensions of single services: which a unit lists, what becomes of them, and where a file of a service comes from.

    host = confext.Host("/")
    confext.service.plan(host, "nginx.service")                            # what would change, path by path
    confext.service.explain(host, "nginx.service")                         # used, or why not
    confext.service.trace(host, "nginx.service", "/etc/nginx/nginx.conf")  # which image, which signer
    confext.service.refresh(host, "nginx.service")                         # seen without a restart
"""

from ._confext import (
    ServiceExplanation,
    ServicePlan,
    ServiceReport,
    ServiceView,
    service_explain as explain,
    service_plan as plan,
    service_refresh as refresh,
    service_trace as trace,
)

__all__ = [
    "ServiceExplanation",
    "ServicePlan",
    "ServiceReport",
    "ServiceView",
    "explain",
    "plan",
    "refresh",
    "trace",
]
