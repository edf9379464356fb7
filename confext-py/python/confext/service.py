"""The extensions of single services: which a unit lists, what becomes of them, and where a file of a service comes from.

    host = confext.Host("/")
    confext.service.show(host, "nginx")                            # what its unit says, and in which line
    confext.service.drop_in(host, "nginx", images=["/var/lib/confexts/nginx.raw.v"])   # say it
    confext.service.plan(host, "nginx")                            # what would change, path by path
    confext.service.explain(host, "nginx")                         # used, or why not
    confext.service.trace(host, "nginx", "/etc/nginx/nginx.conf")  # which image, which signer
    confext.service.refresh(host, "nginx")                         # seen without a restart
    confext.service.status("nginx")                                # what it sees now

    confext.service.attach(host, "/var/lib/portables/app.raw")     # units that an image brings along
    confext.service.attached(host)
    confext.service.detach(host, "app")
"""

from ._confext import (
    CoveredDirectory,
    DropIn,
    PortableAttachment,
    PortableFile,
    PortablePart,
    PortableService,
    PortableUnit,
    ServiceExplanation,
    ServiceMount,
    ServicePlan,
    ServiceReload,
    ServiceReport,
    ServiceUnit,
    ServiceView,
    UnitEntry,
    UnitProcess,
    UnitSetting,
    service_attach as attach,
    service_attached as attached,
    service_detach as detach,
    service_drop_in as drop_in,
    service_explain as explain,
    service_install_generator as install_generator,
    service_plan as plan,
    service_refresh as refresh,
    service_remove_drop_in as remove_drop_in,
    service_show as show,
    service_status as status,
    service_trace as trace,
    service_uninstall_generator as uninstall_generator,
)

__all__ = [
    "CoveredDirectory",
    "DropIn",
    "PortableAttachment",
    "PortableFile",
    "PortablePart",
    "PortableService",
    "PortableUnit",
    "ServiceExplanation",
    "ServiceMount",
    "ServicePlan",
    "ServiceReload",
    "ServiceReport",
    "ServiceUnit",
    "ServiceView",
    "UnitEntry",
    "UnitProcess",
    "UnitSetting",
    "attach",
    "attached",
    "detach",
    "drop_in",
    "explain",
    "install_generator",
    "plan",
    "refresh",
    "remove_drop_in",
    "show",
    "status",
    "trace",
    "uninstall_generator",
]
