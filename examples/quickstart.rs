//! The story in library calls: build, sign, verify, refuse, merge, trace, refresh, unmerge.
//!
//! `cargo run -p confext-examples --example quickstart`, as root. Mounts are made in a mount namespace of its own.
#![allow(clippy::print_stdout, reason = "the program tells a story")]

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use confext_core::admission::Trust;
use confext_core::state::Checked;
use confext_core::sys::{self, Depth, Propagation};
use confext_core::trace::Answer;
use confext_core::{Host, Options, merge, refresh, trace, unmerge};
use confext_ddi::Limits;
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::image::{self, Image};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair, Time};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

// README starts here
/// An image with one file, signed, in memory.
fn build(signer: &KeyPair, config: &str) -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    tree.add_file("etc/app.conf", config, Meta::new(0o644))?;
    let mut image = Cursor::new(Vec::new());
    Builder::new(Class::Confext, "app")
        .tree(tree)
        .release(ReleaseFields::any())
        .build(&mut image, Some(signer))?;
    Ok(image.into_inner())
}

/// Who signed the image, and a file of it: no root, no mount, each byte checked.
fn read(image: &[u8], trusted: &Certificates) -> confext_ddi::Result<(String, Vec<u8>)> {
    let image = Image::open(image, &image::Options::default())?;
    let admitted = Policy::signed().judge(image, Some(trusted))?;
    let signer = admitted.evidence().signer().map(|signer| signer.subject.clone());
    let config = admitted.file_system(&Limits::default())?.read(b"etc/app.conf")?;
    Ok((signer.unwrap_or_default(), config))
}

fn story(root: &Path) -> Result {
    let now = Time::from(SystemTime::now());
    let (vendor, stranger) = (KeyPair::generate("vendor", now, 30)?, KeyPair::generate("stranger", now, 30)?);
    let (first, second) = (build(&vendor, "version = 1\n")?, build(&vendor, "version = 2\n")?);
    println!("built two signed images of {} bytes", first.len());

    let mut trusted = Certificates::new(now);
    trusted.add_pem(&vendor.certificate_pem()?)?;
    let (signer, config) = read(&first, &trusted)?;
    println!("verified: signed by {signer}, has {:?}", String::from_utf8(config)?);

    let mut tampered = first.clone();
    let at = tampered.windows(11).position(|window| window == b"version = 1");
    *at.and_then(|at| tampered.get_mut(at)).ok_or("the image has no such text")? = b'V';
    let foreign = build(&stranger, "version = 1\n")?;
    for (what, image) in [("tampered", tampered), ("foreign", foreign)] {
        match read(&image, &trusted) {
            Ok(_) => return Err(format!("the {what} image was admitted").into()),
            Err(error) => println!("refused the {what} image: [{}] {error}", error.code()),
        }
    }

    // Any directory with an os-release is a host.
    let images = root.join("run/confexts/app.raw.v");
    std::fs::create_dir_all(&images)?;
    std::fs::create_dir_all(root.join("etc"))?;
    std::fs::write(root.join("etc/os-release"), "ID=demo\n")?;
    let host = Host::open(root)?;
    let mut options = Options::default();
    options.trust = Trust::Verifier(Arc::new(trusted));
    let config = || std::fs::read_to_string(root.join("etc/app.conf"));

    std::fs::write(images.join("app_1.raw"), first)?;
    merge(&host, Class::Confext, &options)?;
    println!("merged: etc/app.conf is {:?}", config()?);
    let origin = trace(&host, "/etc/app.conf", &Limits::default())?;
    if let Answer::Layer { source, .. } = origin.answer
        && let Checked::Signed { by, .. } = &source.checked
    {
        println!("traced: from {}, signed by {}", source.image, by.subject);
    }

    std::fs::write(images.join("app_2.raw"), second)?;
    let report = refresh(&host, Class::Confext, &options)?;
    println!("refreshed: etc/app.conf is {:?}, {:?}", config()?, report.outcome);

    unmerge(&host, Class::Confext, &options)?;
    println!("unmerged: etc/app.conf exists: {}", root.join("etc/app.conf").exists());
    Ok(())
}
// README ends here

fn main() -> Result {
    sys::unshare_mounts()?;
    sys::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive)?;
    let root = tempfile::Builder::new().prefix("confext-quickstart-").tempdir()?;
    story(root.path())
}
