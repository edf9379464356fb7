# A wheel of the Python module, tried under every Python of this machine; sourced, never run

# shellcheck shell=bash

# try_wheel WHEEL DIRECTORY PYTHON: unpack the wheel, and run what needs no package under PYTHON and under each other version
# from 3.10 on that is here.
try_wheel() {
    local python version seen=' ' status=0
    rm -rf "$2"
    "$3" -m zipfile -e "$1" "$2" || return 1
    for python in "$3" "$HOME"/.pyenv/versions/*/bin/python3 /usr/bin/python3.1[0-9] /usr/local/bin/python3.1[0-9]; do
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2] * (sys.version_info >= (3, 10)))' \
            2>/dev/null) || continue
        [[ -n $version && $seen != *" $version "* ]] || continue
        seen+="$version "
        PYTHONPATH=$2 "$python" -B tests/python/plain.py || status=1
    done
    [[ $seen != ' ' ]] || status=1
    echo "wheel: ${1##*/}, tried with Python$seen"
    return $status
}
