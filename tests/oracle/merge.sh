#!/bin/sh
# Merges the extensions of a root with systemd and archives what its hierarchies look like; runs in the peer root.
#
#   tests/peer.sh WORKDIR sh -s -- CLASS ROOT ARCHIVE <tests/oracle/merge.sh
#
#   CLASS     confext or sysext
#   ROOT      a root directory below WORKDIR, with os-release and the images where systemd looks for them
#   ARCHIVE   the tar file to write, below WORKDIR: ROOT's etc (confext) or usr and opt (sysext) while merged, names
#             sorted, numeric owners, with extended attributes
#
# The images are not verified: systemd does that with device-mapper alone, which the kernel may lack. tests/vm has it.

set -eu
class=$1 root=$2 archive=$3

# Only all three together keep systemd from opening the hash tree that an image has: it reads the metadata of each
# image by its default policy, whatever --image-policy says.
export SYSTEMD_DISSECT_VERITY_EMBEDDED=0 SYSTEMD_DISSECT_VERITY_GUESS=0 SYSTEMD_DISSECT_VERITY_SIDECAR=0

case $class in
confext) hierarchies=etc ;;
sysext) hierarchies='usr opt' ;;
*)
    echo "merge.sh: class: found '$class', expected confext or sysext" >&2
    exit 2
    ;;
esac

"systemd-$class" "--root=$root" --image-policy=root=unprotected+absent:usr=unprotected+absent --no-reload merge
status=0
merged=
for hierarchy in $hierarchies; do
    [ ! -d "$root/$hierarchy" ] || merged="$merged $hierarchy"
done
# shellcheck disable=SC2086 # a list of words
tar --create --file="$archive" --directory="$root" --sort=name --numeric-owner --xattrs --xattrs-include='*' $merged ||
    status=$?
"systemd-$class" "--root=$root" --no-reload unmerge
exit "$status"
