//! Commands that see what is placed for them.

use super::*;

#[test]
#[ignore = "needs root"]
fn a_command_sees_what_is_placed_for_it_and_nobody_else_does() {
    isolated(|| {
        let dir = scratch();
        let covered = dir.path().join("covered");
        fs::create_dir(&covered).unwrap();
        let before = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let tree = tmpfs(&[("settings", "placed")]);
        let mut command = Command::new("sh");
        command.arg("-c").arg("cat \"$1/settings\"; exit 7").arg("sh").arg(&covered).stdout(Stdio::piped());
        let placements = vec![Placement::new(covered.strip_prefix("/").unwrap(), tree)];
        let output = exec::run(&Root::Host, placements, command).unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(output.stdout, b"placed");
        assert!(!covered.join("settings").exists());
        assert_eq!(fs::read_to_string("/proc/thread-self/mountinfo").unwrap(), before);
    });
}

#[test]
#[ignore = "needs root"]
fn a_command_below_a_directory_sees_it_as_its_root() {
    isolated(|| {
        let dir = scratch();
        let root = dir.path().join("root");
        for name in ["etc", "usr", "bin", "lib", "lib64"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let usr = File::open("/usr").unwrap();
        let placements = vec![
            Placement::new("usr", sys::clone_tree(usr.as_fd(), c"", Depth::Single).unwrap()),
            Placement::new("etc", tmpfs(&[("settings", "placed")])),
        ];
        let mut command = Command::new("/usr/bin/cat");
        command.arg("/etc/settings").stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["bin", "lib", "lib64"] {
            fs::remove_dir(root.join(name)).unwrap();
            symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        let output = exec::run(&Root::Directory(root.clone()), placements, command).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.stdout, b"placed");
        assert_eq!(fs::metadata(root.join("etc")).unwrap().dev(), fs::metadata(&root).unwrap().dev());
    });
}

#[test]
#[ignore = "needs root"]
fn what_keeps_a_command_from_running_is_named() {
    isolated(|| {
        let error =
            exec::run(&Root::Host, Vec::new(), Command::new("/nonexistent/confext-test")).unwrap_err();
        assert_eq!(error.to_string(), "start /nonexistent/confext-test: failed");
        let missing = Placement::new("nonexistent/confext-test", tmpfs(&[]));
        let error = exec::run(&Root::Host, vec![missing], Command::new("true")).unwrap_err();
        assert_eq!(error.to_string(), "open /nonexistent/confext-test: failed");
        let root = Root::Directory("/nonexistent/confext-test".into());
        assert_eq!(exec::run(&root, Vec::new(), Command::new("true")).unwrap_err().code(), "os");
    });
}
