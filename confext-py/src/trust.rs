//! Whose signatures count on a host, and who would accept an image.

use confext_core::keyring::{Key, KeyState, Sealing};
use confext_core::trust::{self, KeyringState, Presence, TrustState, Verdict};

use crate::evidence::Signer;
use crate::record::{Tuple, record};

record! {
    /// Whose signatures count on a host, and what would become of an image.
    TrustReport {
        /// What the running kernel has.
        kernel: TrustKernel,
        /// The keyrings that the kernel trusts, and those that were named.
        keyrings: Tuple<TrustKeyring>,
        /// The files in the `verity.d` directories of the host.
        files: Tuple<TrustFile>,
        /// Of an image: the root hash that it claims, in hex.
        root_hash: Option<String>,
        /// Of an image: its signatures; `None` where no image was asked about.
        signatures: Option<Tuple<TrustSignature>>,
        /// What to do next; one thing.
        next_step: String,
    }
}

record! {
    /// What the running kernel has.
    TrustKernel {
        /// Its release.
        release: Option<String>,
        /// Whether device-mapper is there: `present`, `absent` or `unknown`.
        device_mapper: &'static str,
        /// Whether the target verity is there: `present`, `absent` or `unknown`.
        verity: &'static str,
        /// Parameters of dm-verity.
        parameters: Tuple<KernelParameter>,
    }
}

record! {
    /// A parameter of the kernel.
    KernelParameter {
        /// As it is written on the kernel's command line.
        name: String,
        /// What is in force.
        value: Option<String>,
        /// What the command line asks for.
        command_line: Option<String>,
    }
}

record! {
    /// A keyring of the kernel.
    TrustKeyring {
        /// The name it was looked for by.
        name: String,
        /// `seen`, `missing`, `hidden` (only root sees it) or `refused`.
        state: &'static str,
        /// When it was seen, whether it takes further keys: `sealed`, `restricted`, `open` or `unknown`.
        sealing: Option<&'static str>,
        /// What is in it.
        keys: Tuple<KernelKey>,
        /// When it was refused: the stable code.
        code: Option<&'static str>,
        /// When it was refused: what was found and what was expected.
        message: Option<String>,
    }
}

record! {
    /// A key in a keyring, as far as the kernel tells of it.
    KernelKey {
        /// Its number.
        serial: i32,
        /// Its kind.
        kind: Option<String>,
        /// Its description.
        description: Option<String>,
        /// The subject as the kernel shortens it.
        subject: Option<String>,
        /// The subject key identifier, in hex.
        key_id: Option<String>,
        /// The algorithm.
        algorithm: Option<String>,
        /// `valid`, `revoked`, `expired` or `hidden`.
        state: &'static str,
    }
}

record! {
    /// A file in a `verity.d` directory.
    TrustFile {
        /// Where it is, inside the root.
        path: String,
        /// `used`, `shadowed`, `masks` or `refused`.
        state: &'static str,
        /// When it was refused: the stable code.
        code: Option<&'static str>,
        /// When it was refused: what was found and what was expected.
        message: Option<String>,
    }
}

record! {
    /// A signature of an image, and who would accept it.
    TrustSignature {
        /// Whose it claims to be; `None` when it cannot be read.
        claims: Option<String>,
        /// What each source says.
        answers: Tuple<TrustAnswer>,
    }
}

record! {
    /// What a source says of a signature.
    TrustAnswer {
        /// The source.
        source: String,
        /// Whether its yes counts.
        chosen: bool,
        /// Whose signature it is, when the source accepts it.
        signer: Option<Signer>,
        /// When it is refused: the stable code.
        code: Option<&'static str>,
        /// When it is refused: what was found and what was expected.
        message: Option<String>,
        /// When it is refused: what to do about it.
        hint: Option<&'static str>,
    }
}

impl From<&trust::Report> for TrustReport {
    fn from(report: &trust::Report) -> Self {
        let image = report.image.as_ref();
        Self {
            kernel: TrustKernel::from(&report.kernel),
            keyrings: report.keyrings.iter().collect(),
            files: report.files.iter().collect(),
            root_hash: image.and_then(|image| image.root_hash).map(|hash| hash.to_hex()),
            signatures: image.map(|image| image.signatures.iter().collect()),
            next_step: report.next_step.clone(),
        }
    }
}

impl From<&trust::Kernel> for TrustKernel {
    fn from(kernel: &trust::Kernel) -> Self {
        let word = |presence| match presence {
            Presence::Present => "present",
            Presence::Absent => "absent",
            Presence::Unknown => "unknown",
        };
        Self {
            release: kernel.release.clone(),
            device_mapper: word(kernel.device_mapper),
            verity: word(kernel.verity),
            parameters: kernel.parameters.iter().collect(),
        }
    }
}

impl From<&trust::Parameter> for KernelParameter {
    fn from(parameter: &trust::Parameter) -> Self {
        Self {
            name: parameter.name.clone(),
            value: parameter.value.clone(),
            command_line: parameter.command_line.clone(),
        }
    }
}

impl From<&trust::KeyringReport> for TrustKeyring {
    fn from(keyring: &trust::KeyringReport) -> Self {
        let name = keyring.name.clone();
        let none =
            |state| Self { name, state, sealing: None, keys: Tuple(Vec::new()), code: None, message: None };
        match &keyring.state {
            KeyringState::Seen { sealing, keys } => {
                let sealing = match sealing {
                    Sealing::Sealed => "sealed",
                    Sealing::Restricted => "restricted",
                    Sealing::Open => "open",
                    Sealing::Unknown => "unknown",
                };
                Self { sealing: Some(sealing), keys: keys.iter().collect(), ..none("seen") }
            }
            KeyringState::Missing => none("missing"),
            KeyringState::Hidden => none("hidden"),
            KeyringState::Refused { code, message } => {
                Self { code: Some(code), message: Some(message.clone()), ..none("refused") }
            }
        }
    }
}

impl From<&Key> for KernelKey {
    fn from(key: &Key) -> Self {
        let state = match key.state {
            KeyState::Valid => "valid",
            KeyState::Revoked => "revoked",
            KeyState::Expired => "expired",
            KeyState::Hidden => "hidden",
        };
        Self {
            serial: key.serial.value(),
            kind: key.kind.clone(),
            description: key.description.clone(),
            subject: key.subject.clone(),
            key_id: key.key_id.clone(),
            algorithm: key.algorithm.clone(),
            state,
        }
    }
}

impl From<&trust::TrustFile> for TrustFile {
    fn from(file: &trust::TrustFile) -> Self {
        let path = file.path.to_string_lossy().into_owned();
        let none = |state| Self { path, state, code: None, message: None };
        match &file.state {
            TrustState::Used => none("used"),
            TrustState::Shadowed => none("shadowed"),
            TrustState::Masks => none("masks"),
            TrustState::Refused { code, message } => {
                Self { code: Some(code), message: Some(message.clone()), ..none("refused") }
            }
        }
    }
}

impl From<&trust::SignatureReport> for TrustSignature {
    fn from(signature: &trust::SignatureReport) -> Self {
        Self { claims: signature.claims.clone(), answers: signature.answers.iter().collect() }
    }
}

impl From<&trust::Answer> for TrustAnswer {
    fn from(answer: &trust::Answer) -> Self {
        let (source, chosen) = (answer.source.clone(), answer.chosen);
        let none = Self { source, chosen, signer: None, code: None, message: None, hint: None };
        match &answer.verdict {
            Verdict::Accepted { signer } => Self { signer: Some(Signer::from(signer)), ..none },
            Verdict::Refused { code, message, hint } => {
                Self { code: Some(code), message: Some(message.clone()), hint: Some(hint), ..none }
            }
        }
    }
}
