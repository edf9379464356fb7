//! System calls: one a function, file descriptors and not numbers; all unsafe code about the system is here.
//!
//! Nothing here decides anything: a function makes its call, checks the layout it hands to the kernel at compile time,
//! and returns what the kernel said. The one exception to "one call" is [`FsContext`], which also reads the kernel's
//! log of a file-system context when a call on it fails, because that log is gone with the context.
//!
//! Kernel versions a call needs are noted at each function; who calls decides what to do without it.

mod devmapper;
mod dmwire;
mod fscontext;
mod handle;
mod helper;
mod keyctl;
mod loopctl;
mod memory;
mod mount;
mod mounts;
mod namespace;
mod path;
mod rehearsal;
mod signalfd;
mod signals;
mod spawn;
mod statmount;
mod table;
mod xattr;

pub use devmapper::{
    DmQuery, DmRemoval, dm_create, dm_dependencies, dm_load, dm_remove, dm_rename, dm_resume, dm_status,
    dm_table_status, dm_target_versions, dm_version,
};
pub use dmwire::{DmDevice, DmFlags, DmTarget, DmTargetVersion, DmWhich, device_code};
pub use fscontext::{ContextError, FsContext, Sharing};
pub use handle::{FileHandle, file_handle};
pub use helper::{Helper, Inside, open_child};
pub use keyctl::{
    KeyAbilities, KeyPermissions, KeySerial, add_key, key_describe, key_encrypt, key_invalidate, key_link,
    key_query, key_revoke, key_search, key_set_permissions, key_set_timeout, key_unlink, key_verify,
    keyring_number, keyring_read, keyring_restrict, keyring_seal,
};
pub use loopctl::{
    LoopConfig, LoopFlags, LoopStatus, device_bytes, disk_sequence, loop_clear, loop_configure,
    loop_free_number, loop_status,
};
pub use memory::{SealFlags, add_seals, memfd, seals};
pub use mount::{
    AttributeChange, Depth, MountAttrFlags, OpenTreeFlags, Place, Propagation, SuperblockFlags, clone_tree,
    detach, detach_at, detach_path, map_owners, mount_file_system, move_mount, open_tree, pivot_root,
    set_attributes, set_propagation,
};
pub use mounts::{
    MountSource, mount_id, mount_info, mount_place, mounts_below, statx_and_mount, statx_and_mount_at,
};
pub use namespace::{
    NamespaceKind, current_mount_namespace, enter_namespace, enter_namespaces_of, enter_root, owner_of,
    unshare_directories, unshare_mounts,
};
pub use path::{
    AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags, open_below, open_beneath, open_path, statx,
    volume_flags,
};
pub use rehearsal::{RehearsalStep, rehearse};
pub use rustix::process::Signal;
pub use signalfd::{Arrived, Signals};
pub use signals::interrupted;
pub use spawn::{Entry, StartIn, spawn_inside};
pub use statmount::{MountId, MountInfo};

pub use table::{mount_id as table_mount_id, mounts_of};
pub use xattr::list_attributes;
