# Before docs/python.md: images, good and bad, and two hosts

# shellcheck shell=bash
# For the first block: an image, and this host with it.
make_key vendor
write 1/etc/app.conf 'answer = 42'
make_image app.confext.raw 1
mkdir -p /run/confexts /etc/verity.d
cp app.confext.raw /run/confexts/app.raw
cp vendor.crt vendor.pem
cp vendor.crt /etc/verity.d/
# For the others: versions, a host below a directory, an archive, and an image of which two blocks have changed.
make_host_with_app
write host/etc/os-release 'ID=demo'
write host/etc/systemd/confext.conf $'[ConfExt]\nMutable=ephemeral'
mkdir -p images/app.raw.v layer/etc/cache
for version in 1 2; do
    write "v$version/etc/app.conf" "version = $version"
    make_image "images/app.raw.v/app_$version.raw" "v$version"
done
touch layer/etc/app.conf layer/etc/cache/1 layer/etc/old.pyc
tar -C layer -czf layer.tar.gz etc/app.conf etc/cache/1 etc/old.pyc
mkdir -p damaged/etc
head -c 25600 /dev/zero | tr '\0' x >damaged/etc/app.data
make_image damaged.raw damaged
printf '%8192s' '' | dd of=damaged.raw bs=1 seek=24576 conv=notrunc status=none
