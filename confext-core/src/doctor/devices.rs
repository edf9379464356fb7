//! Loop devices and the device mapper, looked at without loading them

use rustix::fs::{Access, AtFlags, CWD};

use super::machine::Machine;
use super::{Finding, State};
use crate::host::Ability;
use crate::mapper;

const LOOP_CONTROL: &str = "/dev/loop-control";

pub(super) fn loops(machine: &Machine<'_>) -> Finding {
    let listed = machine.text("proc/misc").unwrap_or_default();
    let loaded = listed.lines().any(|line| line.split_whitespace().nth(1) == Some("loop-control"));
    // To open it would load the driver.
    let access =
        rustix::fs::accessat(CWD, LOOP_CONTROL, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
    let there = match access {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::NOENT) => {
            return Finding::no(format!("{LOOP_CONTROL} does not exist")).advise(if loaded {
                "make the node /dev/loop-control visible in this container"
            } else {
                "load the module loop; images without a hash tree may do without (--attach in-place)"
            });
        }
        Err(error) => Err(error),
    };
    match (there, loaded) {
        (Err(error), _) => Finding::new(State::NotPermitted, format!("{LOOP_CONTROL}: {error}"))
            .advise("run as root, or have images without a hash tree read in place (--attach in-place)"),
        (Ok(()), true) => Finding::yes(format!("the driver is loaded, and {LOOP_CONTROL} may be opened")),
        (Ok(()), false) => match on_demand(machine, State::OnDemand, "loop") {
            State::No => Finding::no("the driver is not there, and the kernel loads no such module")
                .advise("use a kernel with CONFIG_BLK_DEV_LOOP, or --attach in-place"),
            State::Unknown => Finding::new(State::Unknown, UNSEEN),
            state => Finding::new(state, "the kernel loads the driver when it is used"),
        },
    }
}

/// What is not loaded is loaded on demand only where there is a module, and the kernel loads any.
fn on_demand(machine: &Machine<'_>, state: State, module: &str) -> State {
    match (state, machine.has_module(module)) {
        (State::OnDemand, Some(false)) => State::No,
        (State::OnDemand, None) => State::Unknown,
        _ => state,
    }
}

const UNSEEN: &str =
    "it is not loaded, and the kernel's modules cannot be seen here: only using it would tell";

pub(super) fn mapper(machine: &Machine<'_>) -> Finding {
    let state = on_demand(machine, Ability::from(machine.mapped().mapper).into(), "dm-mod");
    let why = match state {
        State::Unknown => UNSEEN,
        State::Yes => "it is loaded, and answers",
        State::OnDemand => "the kernel loads it when /dev/mapper/control is opened",
        State::NotPermitted => "it is loaded, and this process may not open /dev/mapper/control",
        _ => "/proc/misc does not list it, and there is nothing that could be loaded",
    };
    Finding::new(state, why).or_advise(
        "load the module dm_mod, as root; without it images with a hash tree are checked while they are copied into memory",
    )
}

pub(super) fn verity(machine: &Machine<'_>) -> Finding {
    let state = on_demand(machine, Ability::from(machine.mapped().verity).into(), "dm-verity");
    let why = match state {
        State::Unknown => UNSEEN,
        State::Yes => "the target verity is there",
        State::OnDemand => "the kernel loads the target verity when it is used",
        State::NotPermitted => "this process may not ask the device mapper",
        _ => "the device mapper has no target verity, or is not there",
    };
    Finding::new(state, why).or_advise(
        "use a kernel with CONFIG_DM_VERITY, as root; without it images are checked while they are copied into memory",
    )
}

pub(super) fn signatures(machine: &Machine<'_>) -> Finding {
    let state = on_demand(machine, Ability::from(machine.mapped().signatures).into(), "dm-verity");
    let why = match state {
        State::Unknown => UNSEEN,
        State::Yes if mapper::requires_signatures() => {
            "dm-verity checks signatures, and takes no image without one (dm_verity.require_signatures)"
        }
        State::Yes => "dm-verity checks signatures of images that have one",
        State::OnDemand => "only dm-verity, which is not loaded, could tell",
        State::NotPermitted => "this process may not ask the device mapper",
        _ => "the kernel checks none: signatures are checked before, with the certificates of verity.d",
    };
    Finding::new(state, why)
}
