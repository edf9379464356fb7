# Before docs/publish.md: two images and a host

# shellcheck shell=bash
make_key vendor
make_host
write tree/etc/app.conf 'answer = 41'
make_image app-1.raw tree
write tree/etc/app.conf 'answer = 42'
make_image app-2.raw tree
