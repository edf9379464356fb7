# Before docs/files.md: two versions of an image

# shellcheck shell=bash
make_key vendor
write 1/etc/app.conf 'answer = 42'
write 2/etc/app.conf 'answer = 420'
write 2/etc/app.d/more.conf ''
truncate -s 0 2/etc/app.d/more.conf
make_image app.raw 1
ln -s app.raw app_1.raw
make_image app_2.raw 2
