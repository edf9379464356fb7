# Before docs/run.md: this machine, which has programs, with an image

# shellcheck shell=bash
make_key vendor
write 1/etc/app.conf 'answer = 42'
mkdir -p /run/confexts
make_image /run/confexts/app.raw 1
write /etc/systemd/system/app.service $'[Service]\nExecStart=/usr/bin/app\nExtensionImages=/run/confexts/app.raw'
