#!/bin/sh
# Has dm-verity accept a signed image, and refuse it when changed; runs in the virtual machine.
#
#   tests/vm/run.sh --disk IMAGE [--file SIGNER.pem] tests/vm/verity.sh PATH [SIGNER.pem]
#
# IMAGE is a partitioned image with a root, a root-verity and a root-verity-sig partition for x86-64, and PATH a regular
# file in its file system, from the top. Prints what veritysetup says about the device and the content of the file.
# With a certificate, PEM or DER, the kernel itself has to accept the image's signature.
# The checks, in order; the first that fails ends the script with what was found:
#   - the kernel's partition scan finds the three partitions by their types
#   - the partitions' UUIDs are the two halves of the root hash in the signature partition
#   - veritysetup opens the root partition with that root hash; the kernel mounts it; PATH can be read
#   - with one digit of the root hash changed, nothing can be read
#   - the kernel refuses the signature while its keyring lacks the certificate, and accepts it with the certificate
#   - with one bit of the data changed on disk, the device opens but reading the block is an I/O error

set -eu

ROOT=4f68bce3-e8cd-4db1-96e7-fbcaf984b709
ROOT_VERITY=2c7357ed-ebd2-46d9-aec1-23d437ec2bf5
ROOT_VERITY_SIG=41092b05-9fc8-4523-994f-2def0408b176

fail() {
    echo "verity.sh: $*"
    exit 1
}

# partition TYPE: print the one partition of /dev/vda that has the type.
partition() {
    found=
    for node in /dev/vda?*; do
        if [ "$(blkid -p -o value -s PART_ENTRY_TYPE "$node")" = "$1" ]; then
            [ -z "$found" ] || fail "partition type $1: found $found and $node, expected one"
            found=$node
        fi
    done
    [ -n "$found" ] || fail "partition type $1: found none, expected one"
    echo "$found"
}

uuid() { blkid -p -o value -s PART_ENTRY_UUID "$1" | tr -d -; }

path=${1#/}
data=$(partition $ROOT)
hash=$(partition $ROOT_VERITY)
signature=$(partition $ROOT_VERITY_SIG)

root_hash=$(tr -d '\0' <"$signature" | sed -n 's/.*"rootHash" *: *"\([0-9a-f]*\)".*/\1/p')
[ ${#root_hash} = 64 ] || fail "root hash in the signature partition: found '$root_hash', expected 64 lower-case hex digits"
[ "$(uuid "$data")$(uuid "$hash")" = "$root_hash" ] ||
    fail "partition UUIDs: found $(uuid "$data") and $(uuid "$hash"), expected the halves of $root_hash"

veritysetup open "$data" checked "$hash" "$root_hash" || fail "veritysetup refused to open the image"
veritysetup status checked
mount -t erofs -o ro /dev/mapper/checked /mnt || fail "the kernel refused to mount the image"
cat "/mnt/$path" || fail "the file could not be read"
umount /mnt
dd if=/dev/mapper/checked of=/dev/null bs=4096 2>/dev/null || fail "not every block of the unchanged image can be read"
veritysetup close checked

case $root_hash in
0*) wrong=1${root_hash#?} ;;
*) wrong=0${root_hash#?} ;;
esac
# veritysetup only reports the kernel's verdict, so the device may be there; but nothing may be read from it.
if veritysetup open "$data" wrong "$hash" "$wrong" 2>/dev/null; then
    dd if=/dev/mapper/wrong of=/dev/null bs=4096 count=1 2>/dev/null && fail "a wrong root hash was accepted"
    veritysetup close wrong
fi

if [ $# -gt 1 ]; then
    tr -d '\0' <"$signature" | sed -n 's/.*"signature" *: *"\([^"]*\)".*/\1/p' | base64 -d >signature.p7s
    [ -s signature.p7s ] || fail "the signature partition has no signature"
    if veritysetup open "$data" signed "$hash" "$root_hash" --root-hash-signature=signature.p7s 2>/dev/null; then
        fail "the kernel accepted a signature whose signer it does not know"
    fi
    openssl x509 -in "$2" -outform DER -out signer.der || fail "$2 is no certificate"
    keyctl padd asymmetric "" %:.dm-verity <signer.der >/dev/null || fail "the kernel refused the certificate"
    # The kernel ignores the keyring until it is sealed.
    keyctl restrict_keyring %:.dm-verity
    veritysetup open "$data" signed "$hash" "$root_hash" --root-hash-signature=signature.p7s ||
        fail "the kernel refused the signature"
    veritysetup status signed | grep 'verified (with signature)' || fail "the kernel did not check the signature"
    veritysetup close signed
fi

# The first byte of the file system's magic, at 1024: every file system of ours has a block 0.
[ "$(dd if="$data" bs=1 skip=1024 count=1 2>/dev/null | od -An -tx1)" = " e2" ] || fail "byte 1024 of the data: expected the first of the EROFS magic"
printf '\343' | dd of="$data" bs=1 seek=1024 conv=notrunc 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
veritysetup open "$data" changed "$hash" "$root_hash" || fail "veritysetup refused to open the changed image"
if error=$(LC_ALL=C dd if=/dev/mapper/changed of=/dev/null bs=4096 count=1 2>&1); then
    fail "a changed block was read without an error"
fi
case $error in
*"/output error"* | *"I/O error"*) ;;
*) fail "reading a changed block: found '$error', expected an I/O error" ;;
esac
veritysetup status changed | grep -q 'status: *corrupted' || fail "the kernel did not mark the changed device as corrupted"
veritysetup close changed
echo "verity.sh: accepted, and refused when changed"
