# Before docs/report.md: a host with an image

# shellcheck shell=bash
make_key vendor
make_host_with_app
write host/etc/app.conf 'of the host'
