# Before docs/service.md: nginx under systemd, and an image for it

# shellcheck shell=bash
# The kernel that the tests run on need not have dm-verity, and systemd makes the first view of the service with it: here it takes
# the image as it is.
write /etc/systemd/system/nginx.service.d/90-kernel.conf $'[Service]\nExtensionImagePolicy=root=unprotected+absent'
make_key vendor
write nginx/etc/nginx/conf.d/site.conf 'server { listen 127.0.0.1:8080; return 200 "site\n"; }'
mkdir -p /var/lib/confexts/nginx.raw.v /etc/verity.d
cp vendor.crt /etc/verity.d/
make_image /var/lib/confexts/nginx.raw.v/nginx_1.raw nginx nginx
systemctl start nginx

# A portable service, and a configuration for what it runs in.
write app/usr/lib/os-release 'ID=app-os'
write app/usr/lib/systemd/system/app.service $'[Service]\nExecStart=/usr/bin/app'
write site/etc/app.conf 'answer = 42'
mkdir -p /var/lib/portables
signed=(--quiet --source-date-epoch 1764201600 --owner 0:0 --key vendor.key --certificate vendor.crt)
confext build --class portable --name app --source app --output /var/lib/portables/app_1.raw "${signed[@]}"
confext build --class confext --name site --release ID=app-os --source site --output /var/lib/portables/site.raw "${signed[@]}"
