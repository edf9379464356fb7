# Before docs/fec.md: an image and a damaged copy of it

# shellcheck shell=bash
make_key vendor
write 1/etc/app.conf 'answer = 42'
make_image app.confext.raw 1
sed 's/answer = 42/Answer = 42/' app.confext.raw >damaged.raw
