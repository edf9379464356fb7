//! How long it takes from the path of a signed image to its verdict, in a process that did so before.
//!
//! `open`: partition table, file systems and signature partition are read. `signature`: the check of one signature.
//! `judge`: open, and a policy that wants a signature. `small` and `large` are 48 KiB and 256 MiB: the size of an image
//! must make no difference.
#![allow(missing_docs, reason = "criterion's macros make functions that nobody calls by name")]
#![allow(clippy::unwrap_used, reason = "what fails here ends the measurement")]

use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::image::{Image, Options};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair, Sign as _, Time, Verifier as _};
use criterion::{Criterion, criterion_group, criterion_main};
use std::fs::File;
use std::hint::black_box;

const NOW: Time = Time::from_unix(1_700_000_000);

/// A signed image on disk, and its root hash. What it was built from is gone.
fn image(key: &KeyPair, content_bytes: usize) -> (tempfile::NamedTempFile, confext_ddi::RootHash) {
    let mut tree = Tree::new();
    tree.add_file("etc/app.conf", vec![0x5a; content_bytes], Meta::new(0o644)).unwrap();
    let release = ReleaseFields::any();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let builder = Builder::new(Class::Confext, "app").tree(tree).release(release);
    let built = builder.build(file.as_file_mut(), Some(key)).unwrap();
    (file, built.root_hash)
}

fn benches(criterion: &mut Criterion) {
    let key = KeyPair::generate("bench", Time::from_unix(1_699_999_940), 2).unwrap();
    let mut certificates = Certificates::new(NOW);
    certificates.add_pem(&key.certificate_pem().unwrap()).unwrap();
    let (options, policy) = (Options::default(), Policy::signed());
    for (name, content_bytes) in [("small", 12), ("large", 256 << 20)] {
        let (file, root_hash) = image(&key, content_bytes);
        let mut group = criterion.benchmark_group(name);
        group.bench_function("open", |bencher| {
            bencher.iter(|| Image::open(File::open(file.path()).unwrap(), &options).unwrap());
        });
        group.bench_function("signature", |bencher| {
            let signature = key.sign(&root_hash).unwrap();
            bencher.iter(|| certificates.verify(black_box(&root_hash), &signature).unwrap());
        });
        group.bench_function("judge", |bencher| {
            bencher.iter(|| {
                let image = Image::open(File::open(file.path()).unwrap(), &options).unwrap();
                policy.judge(image, Some(&certificates)).unwrap()
            });
        });
        group.finish();
    }
}

criterion_group!(open, benches);
criterion_main!(open);
