#!/usr/bin/env bash
# Inside a room: runs one script in the state that the one before has left: working directory and variables.
#
#   BOOK=DIRECTORY step.sh SCRIPT

# shellcheck disable=SC1090,SC1091,SC2154,SC2164
book=$BOOK
. "$book/env"
cd "$(cat "$book/cwd")"
trap 'status=$?; pwd >"$book/cwd"; export -p >"$book/env"; exit $status' EXIT
set -a
. "$1"
