# Before docs/rollout.md: nginx, and three versions of its configuration

# shellcheck shell=bash
# The kernel that the tests run on need not have dm-verity, and systemd makes the first view of the service with it: here it takes
# the image as it is. What is rolled out is checked, all the same.
write /etc/systemd/system/nginx.service.d/05-kernel.conf $'[Service]\nExtensionImagePolicy=root=unprotected+absent'
make_key vendor
configure() { # VERSION [BROKEN]
    write "nginx-$1/etc/nginx/nginx.conf" "pid /run/nginx.pid;
error_log /run/nginx-error.log;
events { }
http { access_log off; server { listen 127.0.0.1:8080; return 200 'version $1\n'; } }
${2-}"
}
configure 1
configure 2
configure 3 broken
for version in 2 3; do
    make_image "nginx_$version.raw" "nginx-$version" nginx
done
