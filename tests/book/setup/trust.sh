# Before docs/trust.md: a host and an image

# shellcheck shell=bash
make_key vendor
make_host
write 1/etc/app.conf 'answer = 42'
make_image app.raw 1
