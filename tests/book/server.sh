#!/usr/bin/env bash
# Inside a room: runs what it is told on standard input, and prints the exit status of each.
#
#   server.sh BOOK PYTHON UID     lines of input: KIND FILE, with KIND user, root, python or pycon

set -uo pipefail
BOOK=$1 python=$2 uid=$3
export PATH=/usr/local/sbin:/usr/local/bin:$PATH BOOK HOME=${BOOK%/*}/home TMPDIR=${BOOK%/*}/home LC_ALL=C.UTF-8

while read -r kind file; do
    case $kind in
    user) setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all --bounding-set=-all \
        bash "$BOOK/step.sh" "$file" >"$file.out" 2>&1 </dev/null ;;
    root) bash "$BOOK/step.sh" "$file" >"$file.out" 2>&1 </dev/null ;;
    *)
        # One interpreter for the page: names that a block defines are there in the next.
        [[ -n ${PYTHON_PID-} ]] || coproc PYTHON { exec "$python" "$BOOK/python_blocks.py" 2>/dev/null; }
        echo "$file" >&"${PYTHON[1]}"
        read -r status <&"${PYTHON[0]}" || status=1
        (exit "$status")
        ;;
    esac
    echo $?
done
