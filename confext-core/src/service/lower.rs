//! What the options of an overlay say of its layers: by them one is known that systemd made for a unit

/// Where systemd puts the extensions of a unit before it makes overlays of them. The numbers are those of the unit's items.
const EXTENSIONS: &str = "/run/systemd/unit-extensions/";

/// The layers of an overlay from the top, as its options have them.
pub(super) fn layers(options: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(options).ok()?;
    let mut layers = Vec::new();
    for option in text.split(',') {
        if let Some(one) = option.strip_prefix("lowerdir+=") {
            layers.push(one.to_owned());
        } else if let Some(all) = option.strip_prefix("lowerdir=") {
            layers.extend(all.split(':').map(str::to_owned));
        }
    }
    (!layers.is_empty()).then_some(layers)
}

/// The number in `/run/systemd/unit-extensions/NUMBER/HIERARCHY`.
pub(super) fn number(layer: &str, hierarchy: &str) -> Option<usize> {
    let (number, rest) = layer.strip_prefix(EXTENSIONS)?.split_once('/')?;
    (rest == hierarchy).then(|| number.parse().ok()).flatten()
}

/// Whether the options are of an overlay that systemd made of a unit's extensions: all layers but the lowest, which is the
/// root's own directory, are where it puts them, and nothing can be written.
///
/// Until 257 its overlays have no name of their own. Nobody else puts anything there: what the host has merged, what a
/// container is made of and what a user has mounted has other layers.
pub(super) fn is_of_a_unit(options: &[u8], hierarchy: &str) -> bool {
    let is_upper = |option: &[u8]| option.starts_with(b"upperdir=");
    if options.split(|byte| *byte == b',').any(is_upper) {
        return false;
    }
    let Some(layers) = layers(options) else { return false };
    let Some((lowest, above)) = layers.split_last() else { return false };
    let is_extension = |layer: &String| number(layer, hierarchy).is_some();
    !above.is_empty() && above.iter().all(is_extension) && !lowest.starts_with(EXTENSIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_of_a_unit_is_known_by_its_layers() {
        let unit = "/run/systemd/unit-extensions";
        for (options, expected) in [
            (format!("ro,lowerdir={unit}/0/etc:/run/systemd/mount-rootfs/etc,redirect_dir=on"), true),
            (format!("ro,lowerdir={unit}/12/etc:{unit}/0/etc:/etc"), true),
            (format!("ro,lowerdir+={unit}/0/etc,lowerdir+=/etc"), true),
            // Of another hierarchy, or no number.
            (format!("ro,lowerdir={unit}/0/usr:/run/systemd/mount-rootfs/etc"), false),
            (format!("ro,lowerdir={unit}/x/etc:/etc"), false),
            (format!("ro,lowerdir={unit}/0/etc/sub:/etc"), false),
            (format!("ro,lowerdir={unit}/0:/etc"), false),
            // Not all of it, or nothing below.
            (format!("ro,lowerdir={unit}/0/etc:/srv/layer:/etc"), false),
            (format!("ro,lowerdir=/srv/layer:{unit}/0/etc:/etc"), false),
            (format!("ro,lowerdir={unit}/1/etc:{unit}/0/etc"), false),
            (format!("ro,lowerdir={unit}/0/etc"), false),
            // Somebody can write to it.
            (format!("rw,lowerdir={unit}/0/etc:/etc,upperdir=/srv/upper,workdir=/srv/work"), false),
            // The host's, a container's, a user's.
            (
                "ro,lowerdir=/run/systemd/sysext/meta/etc:/run/systemd/sysext/confexts/host/etc:/etc".into(),
                false,
            ),
            (format!("rw,lowerdir=/var/lib/l/A:/var/lib/l/B,upperdir={unit}/0/etc,workdir=/w"), false),
            ("ro,lowerdir=/srv/a:/etc".into(), false),
            ("ro,lowerdir=/run/systemd/mount-rootfs/etc:/etc".into(), false),
            ("ro".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_of_a_unit(options.as_bytes(), "etc"), expected, "{options}");
        }
        assert!(!is_of_a_unit(b"ro,lowerdir=\xff:/etc", "etc"));
    }
}
