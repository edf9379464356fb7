//! Python module `confext._confext`: the library in Python's own manner, without logic of its own.

mod admitted;
mod after;
mod argument;
mod attached;
mod build;
mod command;
mod conditions;
mod contents;
mod damage;
mod doctor;
mod entry;
mod error;
mod evidence;
mod explain;
mod files;
mod filter;
mod host;
mod image;
mod kept;
mod key;
mod key_rules;
mod keyring;
mod layer;
mod logs;
mod open;
mod origin;
mod origins;
mod page;
mod parity;
mod pick;
mod plan;
mod policy;
mod portable;
mod progress;
mod record;
mod report;
mod rollout;
mod rule;
mod running;
mod service;
mod settings;
mod sign;
mod source;
mod stack;
mod status;
mod store;
mod trust;
mod unit;

/// Read, build, sign, verify, stack and trace extension images.
#[pyo3::pymodule]
mod _confext {
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    use crate::admitted::{Admitted, AdmittedPartition};
    #[pymodule_export]
    use crate::after::{Affected, After, ChangedPath, Done, InvalidRequest, Told, Work};
    #[pymodule_export]
    use crate::attached::{Attached, VerityDevice};
    #[pymodule_export]
    use crate::build::{Built, Finding, build, lint};
    #[pymodule_export]
    use crate::command::main;
    #[pymodule_export]
    use crate::contents::{Files, Stat};
    #[pymodule_export]
    use crate::damage::{Damage, DamagedRange};
    #[pymodule_export]
    use crate::doctor::{DoctorItem, DoctorReport, doctor};
    #[pymodule_export]
    use crate::entry::{Device, Directory, Fifo, File, HardLink, Symlink};
    #[pymodule_export]
    use crate::evidence::{Claim, Evidence, Signer, TrustSource};
    #[pymodule_export]
    use crate::explain::{Explained, Explanation, Fault, Near, Place, Searched};
    #[pymodule_export]
    use crate::files::{AttributeChange, Difference, Extracted, Manifest, ManifestEntry};
    #[pymodule_export]
    use crate::filter::ImageFilter;
    #[pymodule_export]
    use crate::host::Host;
    #[pymodule_export]
    use crate::image::{Image, Partition, Skipped, Table, verify};
    #[pymodule_export]
    use crate::key::{KeyPair, generate_key};
    #[pymodule_export]
    use crate::key_rules::{KeyRule, KeyRules};
    #[pymodule_export]
    use crate::keyring::{Keyring, Voa};
    #[pymodule_export]
    use crate::layer::{Layer, LayerPartition, Listed, Listing, Rejection};
    #[pymodule_export]
    use crate::logs::_log_results;
    #[pymodule_export]
    use crate::open::{NearMiss, Sidecar, Sidecars};
    #[pymodule_export]
    use crate::origin::{Origin, Shadow, Source, Unknown};
    #[pymodule_export]
    use crate::origins::Origins;
    #[pymodule_export]
    use crate::page::report;
    #[pymodule_export]
    use crate::parity::{DamagedBlock, Parity, Repair, fec, repair};
    #[pymodule_export]
    use crate::pick::{Picked, pick};
    #[pymodule_export]
    use crate::plan::{
        Attributes, Hierarchy, LayerChange, MergedDirectory, PathChange, Plan, Refusal, Shadowed, Veto,
    };
    #[pymodule_export]
    use crate::policy::{Policy, PolicyFinding};
    #[pymodule_export]
    use crate::portable::{
        PortableAttachment, PortableFile, PortablePart, PortableService, PortableUnit, service_attach,
        service_attached, service_detach,
    };
    #[pymodule_export]
    use crate::report::{Change, Decision, Report};
    #[pymodule_export]
    use crate::rollout::{RolloutEvent, RolloutFailure, RolloutOutcome, rollout};
    #[pymodule_export]
    use crate::rule::Rule;
    #[pymodule_export]
    use crate::running::Running;
    #[pymodule_export]
    use crate::service::{
        ServiceExplanation, ServicePlan, ServiceReport, ServiceView, service_explain, service_plan,
        service_refresh, service_trace,
    };
    #[pymodule_export]
    use crate::settings::{Setting, Settings};
    #[pymodule_export]
    use crate::sign::{Signed, sign, to_sign};
    #[pymodule_export]
    use crate::stack::Stack;
    #[pymodule_export]
    use crate::status::{Doubt, Mutable, Status};
    #[pymodule_export]
    use crate::store::{Pruned, Published, Store, StoredVersion};
    #[pymodule_export]
    use crate::trust::{
        KernelKey, KernelParameter, TrustAnswer, TrustFile, TrustKernel, TrustKeyring, TrustReport,
        TrustSignature,
    };
    #[pymodule_export]
    use crate::unit::{
        CoveredDirectory, DropIn, ServiceMount, ServiceReload, ServiceUnit, UnitEntry, UnitProcess,
        UnitSetting, service_drop_in, service_install_generator, service_remove_drop_in, service_show,
        service_status, service_uninstall_generator,
    };
}
