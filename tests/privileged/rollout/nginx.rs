//! nginx of Debian, with its configuration in a signed confext: 1,000 requests in flight while 20 versions are rolled out

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use confext_core::rollout::{
    Check, Inside as Where, Outcome, Reload, Rollout, Runs, Signal, Step, Unit, rollout,
};
use confext_core::{Host, manager};
use rustix::process::{Resource, Rlimit};

use crate::machine::{Inside, Outside, directly_by, extensions, on_machine, run};

const VERSIONS: u32 = 21;
const CLIENTS: u32 = 1000;
/// It ends in the middle of a directive.
const BROKEN: u32 = VERSIONS + 1;
/// Each response takes some seconds: it is in flight while versions come and go.
const LENGTH: usize = 4000;

/// The whole configuration. A response says its version in its header and in each line.
fn configuration(version: u32) -> String {
    let line = format!("version {version:02}\n");
    let body = line.repeat(LENGTH / line.len());
    let broken = if version == BROKEN { "broken" } else { "" };
    format!(
        "worker_processes 2;\nworker_rlimit_nofile 16384;\npid /run/nginx.pid;\nerror_log /run/nginx-error.log;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n  access_log off;\n  server {{\n    listen 127.0.0.1:8080 backlog=8192;\n    location / {{\n\
         default_type text/plain;\n      add_header X-Version {version};\n      limit_rate 1500;\n      return 200 \"{body}\";\n\
         }}\n    location /version {{ return 200 \"{version}\"; }}\n  }}\n}}\n{broken}\n"
    )
}

fn prepare(outside: &Outside) {
    for version in 1..=BROKEN {
        outside.image("nginx", version, "etc/nginx/nginx.conf", &configuration(version));
    }
    outside.installed("nginx", 1);
    // As Debian has it, but that a reload is a signal: what is broken is found by the check, and not before.
    let reload = "ExecReload=\nExecReload=/bin/sh -c 'kill -HUP $MAINPID'\nLimitNOFILE=16384\n";
    let drop_in = format!("[Service]\n{}{reload}", extensions("nginx"));
    outside.file("etc/systemd/system/nginx.service.d/10-confext.conf", &drop_in);
}

/// One response: its header and its content.
fn get(path: &str) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect("127.0.0.1:8080")?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(text.clone()))?;
    Ok((head.to_owned(), body.to_owned()))
}

/// The version of a response that is whole and of one version from its header to its last line.
fn version_of((head, body): &(String, String)) -> Option<u32> {
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    let version = head.lines().find_map(|line| line.strip_prefix("X-Version: "))?.parse().ok()?;
    let line = format!("version {version:02}\n");
    (*body == line.repeat(LENGTH / line.len())).then_some(version)
}

/// Versions: the last one whose rollout is over, and the last one whose rollout has begun.
struct Current {
    over: AtomicU32,
    begun: AtomicU32,
    done: AtomicBool,
    in_flight: AtomicU32,
}

/// Asks again and again; returns how many responses were right, or the first that was not.
fn ask(current: &Current) -> Result<u32, String> {
    let mut count = 0;
    while !current.done.load(Ordering::SeqCst) {
        let oldest = current.over.load(Ordering::SeqCst);
        current.in_flight.fetch_add(1, Ordering::SeqCst);
        let response = get("/");
        current.in_flight.fetch_sub(1, Ordering::SeqCst);
        let newest = current.begun.load(Ordering::SeqCst);
        let response = response.map_err(|error| format!("after {oldest}: {error}"))?;
        let version = version_of(&response).ok_or_else(|| format!("not whole: {response:?}"))?;
        // Two sets of workers accept for a moment: a request may be the last of the version before.
        if version + 1 < oldest || version > newest {
            return Err(format!("version {version} while {oldest} to {newest} were current"));
        }
        count += 1;
    }
    Ok(count)
}

fn roll(inside: &Inside, host: &Host, version: u32) -> Outcome {
    let (store, image) = (inside.store("nginx"), inside.open("nginx", version));
    let wanted = Rollout::new(&store, &image, inside.options(version));
    let mut unit = Unit::new("nginx");
    // One after the other: by the service manager, and by our own refresh and a signal.
    if version.is_multiple_of(2) {
        unit.refresh = directly_by(inside, host, "nginx");
        unit.reload = Reload::Signal(Signal::Hup);
    }
    let mut command = Command::new("nginx");
    command.args(["-t", "-q"]);
    unit.checks.push(Check::Command(command, Where::Service));
    // The signal is answered by nginx when it likes.
    unit.checks.push(Check::Call(Box::new(|_, wanted, _| {
        let wanted = wanted.map(|it| it.version.clone()).unwrap_or_default();
        while get("/version").is_ok_and(|(_, body)| body != wanted) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    })));
    rollout(&wanted, &mut unit, &mut |_| {}).unwrap()
}

#[test]
#[ignore = "needs root"]
fn no_request_fails_while_versions_are_rolled_out() {
    on_machine("nginx::no_request_fails_while_versions_are_rolled_out", prepare, |inside| {
        let limit = Rlimit { current: Some(16384), maximum: Some(16384) };
        rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
        let host = Host::open("/").unwrap();
        run("systemctl", &["start", "nginx"]);
        let before = manager::unit_state("nginx.service", Duration::from_secs(30)).unwrap();
        let current = Current {
            over: AtomicU32::new(1),
            begun: AtomicU32::new(1),
            done: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
        };
        let (counts, least) = std::thread::scope(|scope| {
            let ask = || ask(&current);
            let builder = || std::thread::Builder::new().stack_size(128 * 1024);
            let clients: Vec<_> = (0..CLIENTS).map(|_| builder().spawn_scoped(scope, ask).unwrap()).collect();
            while current.in_flight.load(Ordering::SeqCst) < CLIENTS {
                assert!(clients.iter().all(|client| !client.is_finished()), "a request failed at the start");
                std::thread::sleep(Duration::from_millis(5));
            }
            let mut least = CLIENTS;
            for version in 2..=VERSIONS {
                current.begun.store(version, Ordering::SeqCst);
                let outcome = roll(inside, &host, version);
                assert!(outcome.is_complete(), "{version}: {outcome:?}");
                current.over.store(version, Ordering::SeqCst);
                least = least.min(current.in_flight.load(Ordering::SeqCst));
            }
            let outcome = roll(inside, &host, BROKEN);
            let failure = outcome.failure.unwrap();
            assert_eq!((failure.step, failure.code), (Step::Check, "rollout-check"), "{failure:?}");
            assert!(failure.message.contains("nginx.conf"), "{failure:?}");
            assert_eq!((outcome.runs, &outcome.not_done[..]), (Runs::Previous, &[][..]));
            assert_eq!(outcome.version.unwrap().version, VERSIONS.to_string());
            current.done.store(true, Ordering::SeqCst);
            let counts: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
            (counts, least)
        });
        let right: u32 = counts.into_iter().map(|count| count.unwrap()).sum();
        assert_eq!(get("/version").unwrap().1, VERSIONS.to_string());
        let after = manager::unit_state("nginx.service", Duration::from_secs(30)).unwrap();
        assert_eq!(after, before, "it is still the same process");
        println!("{right} responses, none failed; at least {least} requests in flight after each rollout");
        assert!(right >= CLIENTS && least > CLIENTS / 2, "{right} responses, {least} in flight");
    });
}
