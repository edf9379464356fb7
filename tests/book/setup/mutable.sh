# Before docs/mutable.md: a host with an image

# shellcheck shell=bash
make_key vendor
make_host_with_app
