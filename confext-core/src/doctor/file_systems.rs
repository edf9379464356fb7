//! File systems that the kernel can mount

use super::machine::{Listed, Machine};
use super::{Finding, State};
use crate::host::Ability;

pub(super) fn overlay(machine: &Machine<'_>) -> Finding {
    file_system(machine, "overlay").or_advise("use a kernel with overlayfs: without it nothing is merged")
}

pub(super) fn erofs(machine: &Machine<'_>) -> Finding {
    file_system(machine, "erofs").or_advise(
        "use a kernel with EROFS, or build with --file-system squashfs; reading images needs neither",
    )
}

pub(super) fn squashfs(machine: &Machine<'_>) -> Finding {
    file_system(machine, "squashfs")
        .or_advise("build images with EROFS, which is what build makes without --file-system")
}

pub(super) fn ext4(machine: &Machine<'_>) -> Finding {
    file_system(machine, "ext4")
        .or_advise("build images with EROFS, which is what build makes without --file-system")
}

/// What is listed is tried; what is not is left alone, because trying would load it.
fn file_system(machine: &Machine<'_>, name: &str) -> Finding {
    match machine.file_system(name) {
        Listed::Yes => {
            let state = State::from(Ability::of_file_system(name));
            let why = match state {
                State::Yes => "the kernel has it, and this process may mount it",
                State::NotPermitted => "the kernel has it, and this process may not mount it",
                _ => "the kernel lists it, and does not open it",
            };
            let finding = Finding::new(state, why);
            if state == State::NotPermitted { finding.advise("see mount-privilege") } else { finding }
        }
        Listed::AsModule => Finding::new(State::OnDemand, "it is a module that is not loaded"),
        Listed::No => Finding::no("the kernel does not list it, and there is no module of the name"),
        Listed::Unseen => Finding::new(
            State::Unknown,
            "it is not loaded, and the kernel's modules cannot be seen here: only using it would tell",
        ),
    }
}
