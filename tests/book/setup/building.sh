# Before docs/building.md: directories to build images of

# shellcheck shell=bash
write tree/etc/app.conf 'answer = 42'
write app/usr/lib/app/main.py ''
write app/usr/lib/app/main.pyc ''
write app/usr/share/doc/app/README ''
write file_contexts '/usr(/.*)? system_u:object_r:usr_t:s0'
