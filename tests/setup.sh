#!/usr/bin/env bash
# Installs and makes what building and testing need, once.
#
# A step that finds its result says so and does nothing.
#
#   tests/setup.sh [STEP…]        the steps, in order; without any: all of them
#
#   build    compiler, OpenSSL headers, openssl                                  (apt)
#   lint     shellcheck, rustfmt, clippy                                         (apt, rustup)
#   tools    the programs that tests call on this machine                        (apt)
#   peer     two root file systems, for tests/peer.sh to run commands in: Debian
#            unstable with systemd 262 or later and a kernel, and Debian 13 with
#            systemd 257                                                         (debootstrap)
#   vm       an emulator that boots the peer's kernel, and the kernels of Debian
#            13 and 12: tests/vm/run.sh                                          (apt)
#   python   a virtual environment with maturin, pytest, hypothesis, mypy and jsonschema  (pip)
#   browser  a root file system with a headless Chromium, for tests/browser.sh   (debootstrap)
#   fleet    a virtual environment with what tests/fleet/requirements.txt says, and a registry   (pip, apt)
#   release  cargo-deny and cargo-cyclonedx, for tests/release.sh                 (cargo)
#   all      everything above
#   fresh    a root file system with Python and without anything to build with, for tests/fresh.sh   (debootstrap)
#
# Made for Debian 12 and later. Elsewhere a step passes if its programs are there, and else says what it misses.
# Only the Rust toolchain is never installed. See cache.sh for where things go.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR
. ./cache.sh

DEFAULT_MIRROR=http://deb.debian.org/debian
PYTHON_TOOLS=('maturin==1.16.*' 'pytest==9.2.*' 'hypothesis==6.*' 'mypy==2.4.*' 'jsonschema==4.*' 'types-jsonschema==4.*')
PEER_PACKAGES=(
    systemd systemd-container systemd-repart # systemd-confext, -analyze; -dissect; -repart
    cryptsetup-bin dmsetup                   # veritysetup
    erofs-utils squashfs-tools e2fsprogs dosfstools mtools
    dbus                                     # tests/manager.sh: who tells the service manager
    fdisk gdisk util-linux openssl attr acl
    busybox-static kmod keyutils xz-utils    # what the virtual machine is made of
)
# Which version of systemd there is at least.
declare -A PEER_SYSTEMD=([sid]=262 [trixie]=257)
# In Debian unstable only.
SERVICE_PACKAGES=(
    nginx # a service that people use, for tests of rollouts
)

# Exactly these: what they accept must not change on a day when nothing here does.
CARGO_PROGRAMS=(cargo-deny@0.20.2 cargo-cyclonedx@0.5.9)

# What tests/browser.sh needs: the browser without a window, and fonts, or it draws no text.
BROWSER_PACKAGES=(chromium-headless-shell fonts-dejavu-core fonts-liberation)

# What somebody has on Debian who comes with Rust and Python, and has cloned the sources. The rest of the packages is for
# tests/fresh.sh to miss.
FRESH_PACKAGES=(python3 git ca-certificates sudo systemd systemd-sysv dbus)

# The kernel series and the suite it is in.
OLD_KERNELS=(6.12=trixie 6.1=bookworm)

MISSING=() # Debian packages that the current step lacks

# want COMMAND PACKAGE: note PACKAGE if COMMAND is not there.
want() {
    command -v "$1" >/dev/null || MISSING+=("$2")
}

# Install $MISSING; on a machine without package lists, or with old ones, fetch them and try again.
install_missing() {
    local step=$1
    [[ ${#MISSING[@]} != 0 ]] || return 0
    local packages=("${MISSING[@]}")
    MISSING=()
    command -v apt-get >/dev/null || die "$step: needs the equivalent of these Debian packages: ${packages[*]}"
    [[ $(id -u) == 0 ]] || die "$step: needs root to run: apt-get install ${packages[*]}"
    say "$step: installing ${packages[*]}"
    apt_install "${packages[@]}" || { apt-get -q update >&2 && apt_install "${packages[@]}"; } ||
        die "$step: apt-get could not install ${packages[*]}"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" >&2
}

step_build() {
    command -v cargo >/dev/null || die "build: needs a Rust toolchain (cargo) in PATH"
    want cc gcc
    want ld binutils
    want openssl openssl
    # A compiler without libc headers or without OpenSSL's is of no use; ask for the headers, not for their owners.
    [[ -e /usr/include/stdio.h ]] || MISSING+=(libc6-dev)
    want pkg-config pkg-config
    pkg-config --exists openssl 2>/dev/null || MISSING+=(libssl-dev)
    install_missing build
}

step_lint() {
    want shellcheck shellcheck
    install_missing lint
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        say "lint: adding rustfmt and clippy to the toolchain"
        rustup component add rustfmt clippy >&2 || die "lint: needs rustfmt and clippy of the Rust toolchain"
    fi
}

step_tools() {
    want unshare util-linux
    want losetup mount
    want sgdisk gdisk
    want sfdisk fdisk
    want veritysetup cryptsetup-bin
    want mkfs.erofs erofs-utils
    want mksquashfs squashfs-tools
    want unsquashfs squashfs-tools
    want mke2fs e2fsprogs
    want mkfs.vfat dosfstools
    want mcopy mtools
    want mtree mtree-netbsd
    want bsdtar libarchive-tools
    want mkfs.xfs xfsprogs
    want mkfs.btrfs btrfs-progs
    want mkfs.f2fs f2fs-tools
    want cryptsetup cryptsetup-bin
    want blkid util-linux
    want setfattr attr
    want setfacl acl
    want openssl openssl
    want flock util-linux
    want groff groff-base
    want zsh zsh
    want fish fish
    install_missing tools
}

step_vm() {
    want qemu-system-x86_64 qemu-system-x86
    want cpio cpio
    install_missing vm
    step_peer
    # Debian's flavour without drivers for real hardware; tests/vm knows no other architecture.
    [[ $(uname -m) == x86_64 ]] || return 0
    if have_kernels; then
        say "vm: in $KERNELS: $(cd "$KERNELS" && echo */modules/*)"
        return
    fi
    [[ $(id -u) == 0 ]] || die "vm: needs root to make $KERNELS"
    want unshare util-linux
    want flock util-linux
    install_missing vm
    once kernels
}

have_kernels() {
    local pair
    for pair in "${OLD_KERNELS[@]}"; do
        [[ -e $KERNELS/${pair%=*}/vmlinuz ]] || return 1
    done
}

make_kernels() {
    local source proxy='' partial
    source=$(mirror)
    command -v apt-config >/dev/null && eval "$(apt-config shell proxy Acquire::http::Proxy)"
    partial=$(partial kernels)
    say "vm: making $KERNELS from $source"
    # The peer's apt, with package lists of its own below /mnt: the peer root stays as it is.
    # shellcheck disable=SC2016 # expanded by the inner shell
    http_proxy=${http_proxy:-$proxy} unshare --mount --propagation private bash -euo pipefail -c '
        root=$1 partial=$2 source=$3; shift 3
        mount -t tmpfs -o mode=755 kernels "$root/mnt"
        mount -t proc proc "$root/proc"
        in_root() { env -i ${http_proxy:+http_proxy="$http_proxy"} PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive APT_CONFIG=/mnt/apt.conf chroot "$root" "$@"; }
        mkdir -p "$root"/mnt/{state/lists/partial,cache/archives/partial}
        printf "%s\n" "Dir::State \"/mnt/state\";" "Dir::Cache \"/mnt/cache\";" "Acquire::Languages \"none\";" \
            "Dir::Etc::sourcelist \"/mnt/sources.list\";" "Dir::Etc::sourceparts \"/dev/null\";" >"$root/mnt/apt.conf"
        for pair; do
            suite=${pair#*=}
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $source $suite main"
        done >"$root/mnt/sources.list"
        in_root apt-get -q update
        for pair; do
            series=${pair%=*} suite=${pair#*=}
            image=$(in_root apt-cache show "linux-image-cloud-amd64/$suite" | sed -n "s/^Depends: \(linux-image-$series\.[^ ]*\) .*/\1/p")
            [ -n "$image" ] || { echo "Debian $suite has no kernel $series" >&2; exit 1; }
            version=${image#linux-image-}
            in_root sh -euc "cd /mnt; apt-get -q download $image; dpkg-deb -x ./$image*.deb unpacked; rm ./$image*.deb
                [ -d unpacked/usr/lib ] || { mkdir -p unpacked/usr; mv unpacked/lib unpacked/usr/lib; }
                ln -s usr/lib unpacked/lib; depmod --basedir /mnt/unpacked $version"
            mkdir -p "$partial/$series/modules"
            cp -r "$root/mnt/unpacked/usr/lib/modules/$version" "$partial/$series/modules/"
            # Drivers and protocols that no virtual machine of ours has are most of it.
            rm -rf "$partial/$series/modules/$version/kernel"/{net,sound}
            cp "$root/mnt/unpacked/boot/vmlinuz-$version" "$partial/$series/vmlinuz"
            rm -rf "$root/mnt/unpacked"
        done
    ' bash "$STABLE_ROOT" "$partial" "$source" "${OLD_KERNELS[@]}" >&2
    mv -T "$partial" "$KERNELS"
    say "vm: made: $(cd "$KERNELS" && echo */modules/*)"
}

step_python() {
    if have_venv; then
        say "python: in $VENV"
        return
    fi
    want python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || MISSING+=(python3-venv)
    install_missing python
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "python: needs Python 3.10 or later"
    once venv
}

# Asked, not looked for: the interpreter that the environment was made with may be gone.
have_venv() {
    "$VENV/bin/maturin" --version >/dev/null 2>&1 && "$VENV/bin/python" -c pass 2>/dev/null
}

make_venv() {
    # Not moved into place like the peer root: scripts in bin/ name the directory they were made in.
    # maturin comes last, so an interrupted installation is not taken for a complete one.
    say "python: making $VENV"
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check "${PYTHON_TOOLS[@]:1}" >&2
    "$VENV/bin/pip" install --quiet --disable-pip-version-check "${PYTHON_TOOLS[0]}" >&2
}

step_fleet() {
    if have_fleet; then
        say "fleet: in $FLEET_VENV and $REGISTRY"
        return
    fi
    want python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || MISSING+=(python3-venv)
    install_missing fleet
    once fleet
}

have_fleet() {
    cmp -s fleet/requirements.txt "$FLEET_VENV/requirements.txt" && "$FLEET_VENV/bin/python" -c pass 2>/dev/null &&
        [[ -x $REGISTRY/usr/bin/docker-registry ]]
}

make_fleet() {
    local partial
    say "fleet: making $FLEET_VENV"
    rm -rf "$FLEET_VENV"
    python3 -m venv "$FLEET_VENV"
    "$FLEET_VENV/bin/pip" install --quiet --disable-pip-version-check -r fleet/requirements.txt >&2
    # Installed by apt it would be a service of this machine.
    command -v apt-get >/dev/null || die "fleet: needs the program of the Debian package docker-registry in $REGISTRY/usr/bin"
    say "fleet: making $REGISTRY"
    partial=$(partial registry)
    (
        cd "$partial"
        apt-get -q download docker-registry >&2 || { apt-get -q update >&2 && apt-get -q download docker-registry >&2; }
        dpkg-deb -x docker-registry_*.deb .
        rm docker-registry_*.deb
    )
    rm -rf "$REGISTRY"
    mv -T "$partial" "$REGISTRY"
    # Last: an interrupted installation is not taken for a complete one.
    cp fleet/requirements.txt "$FLEET_VENV/requirements.txt"
}

step_browser() {
    debian_root browser "$BROWSER_ROOT" trixie "${BROWSER_PACKAGES[@]}"
}

# A root of its own: what the browser links against is not on every machine, and not of one release on all of them.
finish_browser() {
    chroot "$1" sh -c 'command -v chromium-headless-shell' >/dev/null ||
        die "browser: Debian $2 did not bring chromium-headless-shell"
    # What it does not need without a screen: drivers for graphics cards with their compiler, and what people read.
    rm -rf "$1"/usr/lib/*/{libLLVM*,libgallium*,libz3*,dri} "$1"/usr/lib/chromium/libVkLayer* \
        "$1"/usr/share/{doc,man,locale,i18n,info,X11} "$1"/var/cache/debconf
    # shellcheck disable=SC2016 # for dpkg-query to expand
    chroot "$1" dpkg-query -W -f '${Package} ${Version}\n' chromium-headless-shell >"$1/etc/confext-browser"
}

step_fresh() {
    debian_root fresh "$FRESH_ROOT" trixie "${FRESH_PACKAGES[@]}"
}

finish_fresh() {
    ! chroot "$1" sh -c 'command -v cc || command -v pkg-config' >/dev/null ||
        die "fresh: Debian $2 brought a compiler along, so this would show nothing"
    chroot "$1" useradd --create-home --shell /bin/bash --uid 1000 person
    cp "$1/etc/debian_version" "$1/etc/confext-fresh"
}

step_release() {
    command -v cargo >/dev/null || die "release: needs a Rust toolchain (cargo) in PATH"
    want cc gcc
    want flock util-linux
    want python3 python3
    install_missing release
    if have_cargo_programs; then
        say "release: in $CARGO_TOOLS: ${CARGO_PROGRAMS[*]}"
        return
    fi
    once cargo_programs
}

have_cargo_programs() {
    local program
    for program in "${CARGO_PROGRAMS[@]}"; do
        [[ -x $CARGO_TOOLS/bin/${program%@*} ]] || return 1
    done
}

# Both in one build directory, for what they share, and not optimised: they run for a second.
make_cargo_programs() {
    local program build
    build=$(mktemp -d "${TMPDIR:-/tmp}/confext-cargo.XXXXXX")
    say "release: building ${CARGO_PROGRAMS[*]}"
    for program in "${CARGO_PROGRAMS[@]}"; do
        CARGO_TARGET_DIR=$build CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0 \
            cargo install --quiet --locked --debug --root "$CARGO_TOOLS" "$program" >&2 ||
            { rm -rf "$build"; die "release: cargo could not install $program"; }
    done
    rm -rf "$build"
}

step_peer() {
    debian_root peer "$PEER_ROOT" sid "${PEER_PACKAGES[@]}" "${SERVICE_PACKAGES[@]}"
    debian_root peer "$STABLE_ROOT" trixie "${PEER_PACKAGES[@]}"
}

finish_peer() {
    check_peer "$2" "$1" "${PEER_SYSTEMD[$2]}"
    peer_versions "$1" >"$1/etc/confext-peer"
}

# debian_root STEP ROOT SUITE PACKAGE…: have ROOT, a root file system of Debian's SUITE with these packages, as
# finish_STEP leaves it: with the file etc/confext-STEP, which says what it has.
debian_root() {
    if have_root "$@"; then
        say "$1: in $2: $(root_has "$@")"
        return
    fi
    [[ $(id -u) == 0 ]] || die "$1: needs root to make $2"
    want debootstrap debootstrap
    want unshare util-linux
    want flock util-linux
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || MISSING+=(debian-archive-keyring)
    install_missing "$1"
    once root "$@"
}

have_root() {
    [[ -e $2/etc/confext-$1 ]]
}

root_has() {
    tr '\n' ' ' <"$2/etc/confext-$1"
}

make_root() {
    local partial
    say "$1: making $2"
    partial=$(partial "$1-$3")
    bootstrap "$3" "$partial" "${@:4}"
    "finish_$1" "$partial" "$3"
    mv -T "$partial" "$2"
    say "$1: made: $(root_has "$@")"
}

# partial NAME: print a new directory for what is not complete yet. We hold the lock: another one was left by an interrupted
# run.
partial() {
    local made
    rm -rf "$CACHE/.$1".*
    made=$(mktemp -d "$CACHE/.$1.XXXXXX")
    chmod 755 "$made"
    echo "$made"
}

# The mirror that this machine's apt uses for Debian itself.
mirror() {
    local configured=
    if command -v apt-get >/dev/null; then
        # shellcheck disable=SC2016 # for apt-get to expand
        configured=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' |
            sort -u | head -n 1)
    fi
    printf '%s\n' "${configured:-$DEFAULT_MIRROR}"
}

# bootstrap SUITE ROOT PACKAGE…: a root file system of Debian's SUITE with these packages.
bootstrap() {
    local source proxy=''
    source=$(mirror)
    command -v apt-config >/dev/null && eval "$(apt-config shell proxy Acquire::http::Proxy)"
    say "bootstrap: Debian $1 from $source"
    # An own mount namespace: /proc of the new root must not outlive us, however we end.
    # shellcheck disable=SC2016 # expanded by the inner shell
    http_proxy=${http_proxy:-$proxy} unshare --mount --propagation private bash -euo pipefail -c '
        suite=$1 root=$2 source=$3; shift 3
        debootstrap --variant=minbase "$suite" "$root" "$source"
        mount -t proc proc "$root/proc"
        in_root() { env -i ${http_proxy:+http_proxy="$http_proxy"} PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
        printf "#!/bin/sh\nexit 101\n" >"$root/usr/sbin/policy-rc.d"
        chmod +x "$root/usr/sbin/policy-rc.d"
        in_root apt-get -q -y --no-install-recommends install "$@"
        # The kernel for the virtual machine, unpacked but not installed: no boot loader, no initramfs wanted here.
        # Only the flavour without drivers for real hardware, on the architecture that tests/vm knows.
        if [ "$suite" = sid ] && [ "$(in_root dpkg --print-architecture)" = amd64 ]; then
            image=$(in_root apt-cache depends linux-image-cloud-amd64 | sed -n "s/^ *Depends: linux-image-//p")
            in_root sh -euc "cd /tmp; apt-get -q download linux-binary-$image linux-modules-$image
                for deb in ./*.deb; do dpkg-deb -x \$deb /; rm \$deb; done; depmod $image"
        fi
        in_root apt-get clean
        rm -rf "$root"/var/lib/apt/lists/* "$root/usr/sbin/policy-rc.d"
        # dpkg makes a machine ID; each run in the peer makes its own.
        : >"$root/etc/machine-id"
    ' bash "$1" "$2" "$source" "${@:3}" >&2
}

# A suite moves: refuse to keep a root that lacks a program, rather than fail in the middle of some test.
check_peer() {
    local suite=$1 root=$2 wanted=$3 program version
    for program in systemd-repart systemd-dissect systemd-confext systemd-sysext systemd-analyze systemd-vpick \
        veritysetup mkfs.erofs fsck.erofs dump.erofs mksquashfs sgdisk sfdisk openssl busybox keyctl dbus-daemon; do
        chroot "$root" sh -c "command -v $program" >/dev/null || die "peer: Debian $suite did not bring $program"
    done
    [[ $suite != sid || -x $root/usr/sbin/nginx ]] || die "peer: Debian $suite did not bring nginx"
    version=$(chroot "$root" systemd-repart --version | awk 'NR == 1 { print $2 }')
    ((version >= wanted)) || die "peer: needs systemd $wanted or later, Debian $suite has $version"
}

peer_versions() {
    # shellcheck disable=SC2016 # for dpkg-query to expand
    chroot "$1" dpkg-query -W -f '${Package} ${Version}\n' systemd systemd-repart cryptsetup-bin erofs-utils \
        squashfs-tools fdisk gdisk openssl
    (cd "$1/usr/lib/modules" 2>/dev/null && printf 'kernel %s\n' *) || :
}

# once THING [ARGUMENT…]: call make_THING, one run at a time on this machine, unless have_THING says that there is no need.
once() {
    mkdir -p "$CACHE"
    exec {lock}>"$CACHE/.lock"
    flock "$lock"
    # Whoever held the lock may have made it meanwhile.
    "have_$1" "${@:2}" || "make_$1" "${@:2}"
    exec {lock}>&-
}

steps=("$@")
[[ ${#steps[@]} != 0 ]] || steps=(all)
[[ ${steps[*]} != all ]] || steps=(build lint tools peer vm python browser fleet release)
for step in "${steps[@]}"; do
    case $step in
    build | lint | tools | peer | vm | python | browser | fleet | release | fresh)
        "step_$step"
        say "$step: ready"
        ;;
    -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "${0##*/}" && exit ;;
    *) die "no step is called '$step'; there are: build, lint, tools, peer, vm, python, browser, fleet, release, all, fresh" ;;
    esac
done
