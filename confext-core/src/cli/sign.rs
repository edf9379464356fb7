//! `sign`: an image that is there gets a signature, or says what one is made over

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use confext_ddi::build::{self, Existing, SignOptions, SignedImage};
use confext_ddi::error::Lookup;
use confext_ddi::signature::{Certificate, DigestAlgorithm, KeyPair, RemoteKey, Sign, ToSign};
use serde::Serialize;

use super::failure::Failure;
use super::open;
use super::output::{Output, View};
use super::progress::Progress;
use super::text::{Clean, Size};
use crate::error::Error;

/// Signs an image that is there, or takes a signature that was made elsewhere.
///
/// The image is copied, all of its data is checked, and the copy takes its place when it is signed.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Arguments {
    /// The image.
    image: PathBuf,
    /// Writes the signed image to this new file instead of in the image's place.
    #[arg(long, short, value_name = "FILE", conflicts_with = "to_sign")]
    output: Option<PathBuf>,
    /// Signs with this private key (PEM, not encrypted).
    #[arg(long, value_name = "FILE", group = "what", requires = "certificate")]
    key: Option<PathBuf>,
    /// Puts this signature in: PKCS#7 (DER), or as the key made it (RSA PKCS#1 1.5, ECDSA).
    #[arg(long, alias = "attach", value_name = "FILE", group = "what", requires = "certificate")]
    signature: Option<PathBuf>,
    /// Writes the bytes that a signature is made over to this new file; nothing is signed.
    #[arg(long, value_name = "FILE", group = "what", conflicts_with_all = ["certificate", "add"])]
    to_sign: Option<PathBuf>,
    /// The certificate that goes with the key (PEM).
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Keeps the signatures that are there; the new one comes after them, or in place of one by the same certificate.
    #[arg(long)]
    add: bool,
    /// The digest of the signature, or, with --to-sign, the digest to write instead of the content.
    #[arg(long, value_name = "NAME", value_parser = digest, conflicts_with = "signature")]
    digest: Option<DigestAlgorithm>,
    #[command(flatten)]
    open: open::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    if let Some(file) = &arguments.to_sign {
        return arguments.write_to_sign(file, output);
    }
    let options = arguments.options()?;
    let signer = arguments.signer()?;
    let target = arguments.output.as_ref().unwrap_or(&arguments.image);
    let progress = Progress::new("signing", output);
    let total_bytes = std::fs::metadata(&arguments.image).map_or(0, |image| image.len());
    let mut tell = |done_bytes| {
        progress.show(done_bytes, total_bytes);
        ControlFlow::Continue(())
    };
    let signed = build::sign_file_watched(&arguments.image, target, signer.as_ref(), &options, &mut tell)
        .map_err(|source| arguments.fault(source))?;
    drop(progress);
    output.summary(&Summary { image: target.display().to_string(), signed })
}

impl Arguments {
    fn options(&self) -> Result<SignOptions, Failure> {
        let existing = if self.add { Existing::Keep } else { Existing::Replace };
        Ok(SignOptions::default().existing(existing).open(self.open.options()?))
    }

    fn signer(&self) -> Result<Box<dyn Sign>, Failure> {
        let Some(certificate) = &self.certificate else {
            return Err(confext_ddi::Error::from(confext_ddi::error::Refused::SignerMissing).into());
        };
        match (&self.key, &self.signature) {
            (Some(key), _) => {
                let pair = key_pair(key, certificate)?;
                Ok(Box::new(self.digest.into_iter().fold(pair, KeyPair::digest)))
            }
            (None, Some(signature)) => {
                let signature = read("--signature", signature)?;
                let certificate = Certificate::from_pem(&read("--certificate", certificate)?)
                    .map_err(|error| argument("--certificate", error.into()))?;
                Ok(Box::new(RemoteKey::new(certificate, move |_: &ToSign, _| Ok(signature.clone()))))
            }
            (None, None) => Err(confext_ddi::Error::from(confext_ddi::error::Refused::SignerMissing).into()),
        }
    }

    fn write_to_sign(&self, file: &Path, output: &Output) -> Result<(), Failure> {
        let os = |operation, path: &Path| {
            let target = path.display().to_string();
            move |source| Failure::from(Error::os(operation, target, source))
        };
        let image = File::open(&self.image).map_err(os("open", &self.image))?;
        let to_sign = build::to_sign(image, &self.options()?).map_err(|source| self.fault(source))?;
        let bytes = match self.digest {
            Some(digest) => to_sign.digest(digest),
            None => to_sign.content().as_bytes().to_vec(),
        };
        let mut new = File::create_new(file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                confext_ddi::Error::from(Lookup::OutputExists { path: file.display().to_string() }).into()
            }
            _ => os("create", file)(error),
        })?;
        new.write_all(&bytes).map_err(os("write", file))?;
        output.summary(&Wanted {
            image: self.image.display().to_string(),
            root_hash: to_sign.content(),
            file: file.display().to_string(),
            digest: self.digest,
        })
    }

    fn fault(&self, source: confext_ddi::Error) -> Failure {
        Error::Image { image: self.image.display().to_string(), source }.into()
    }
}

/// The key and certificate of two files.
pub(super) fn key_pair(key: &Path, certificate: &Path) -> Result<KeyPair, Failure> {
    let pair = KeyPair::from_pem(&read("--key", key)?, &read("--certificate", certificate)?);
    pair.map_err(|error| argument("--key", error.into()))
}

fn read(name: &'static str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|source| argument(name, Error::os("read", path.display().to_string(), source)))
}

fn argument(name: &'static str, error: Error) -> Failure {
    Failure::Argument { name, error }
}

/// The argument `--digest`.
fn digest(text: &str) -> Result<DigestAlgorithm, String> {
    let known = DigestAlgorithm::ALL.into_iter().find(|known| known.name() == text);
    known.ok_or_else(|| "expected sha256, sha384 or sha512".to_owned())
}

#[derive(Serialize)]
struct Summary {
    image: String,
    #[serde(flatten)]
    signed: SignedImage,
}

impl View for Summary {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: signed, {}", Clean(&self.image), Size(self.signed.size_bytes))?;
        writeln!(out, "  root hash    {}", self.signed.root_hash)?;
        for fingerprint in &self.signed.signatures {
            match fingerprint {
                Some(fingerprint) => writeln!(out, "  signed by    certificate {fingerprint}")?,
                None => writeln!(out, "  signed by    it does not say which certificate")?,
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Wanted<'a> {
    image: String,
    root_hash: &'a str,
    file: String,
    digest: Option<DigestAlgorithm>,
}

impl View for Wanted<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let what = self.digest.map_or("content", DigestAlgorithm::name);
        writeln!(out, "{}: {what} to sign written to {}", Clean(&self.image), Clean(&self.file))?;
        writeln!(out, "  root hash    {}", self.root_hash)
    }
}
