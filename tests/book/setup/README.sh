# Before README.md: a vendor with a key and a directory

# shellcheck shell=bash
make_key vendor
write app/etc/app/app.conf 'answer = 42'
