#!/usr/bin/env bash
# Builds the fuzz targets for OSS-Fuzz and packs each with its corpus and its dictionary.
#
#   build.sh              as OSS-Fuzz calls it: builds with cargo-fuzz and its sanitizers, packs into $OUT
#   build.sh --pack DIR   packs programs that are in DIR already: what tests/run.sh does with its own
#
# A target is a file of fuzz/fuzz_targets; $OUT gets NAME, NAME_seed_corpus.zip and NAME.dict for each.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${OUT:?the directory for programs, corpora and dictionaries}"

if [[ ${1-} == --pack ]]; then
    programs=${2:?the directory of the programs}
else
    # Arithmetic that wraps is a fault here, as it is in the release profile.
    cargo fuzz build -O --debug-assertions
    programs=target/x86_64-unknown-linux-gnu/release
fi

count=0
for source in fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    cp "$programs/$name" "$OUT/$name"
    cp "dictionaries/$name.dict" "$OUT/$name.dict"
    rm -f "$OUT/${name}_seed_corpus.zip"
    # Python's zip, because every image that has this toolchain has Python, and not every one has zip.
    python3 -m zipfile -c "$OUT/${name}_seed_corpus.zip" "corpus/$name"/*
    count=$((count + 1))
done
echo "oss-fuzz: $count targets packed"
