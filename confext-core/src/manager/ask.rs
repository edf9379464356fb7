//! [`ask`]: one conversation with the service manager on the system bus, which comes to an end whatever the bus does

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zbus::connection::Builder;
use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant};

use super::Patience;
use crate::error::{Error, Result};

/// Where the bus is. Nothing is taken from the environment, which could name another one.
pub(super) const SOCKET: &str = "unix:path=/run/dbus/system_bus_socket";
pub(super) const NAME: &str = "org.freedesktop.systemd1";
pub(super) const PATH: &str = "/org/freedesktop/systemd1";
pub(super) const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// How often it is looked whether the caller has had enough.
const PAUSE: Duration = Duration::from_millis(50);

/// What came of a conversation.
pub(crate) enum Answer<T> {
    /// The manager answered, or refused.
    Said(zbus::Result<T>),
    /// There was no answer in time.
    Late,
    /// The caller has had enough.
    Stopped,
}

enum Told<T> {
    Connected(Connection),
    Ended(zbus::Result<T>),
    Unreachable(zbus::Error),
}

pub(super) fn unreachable(found: &str) -> Error {
    Error::conflict("manager-unreachable", "the service manager", found, format!("an answer at {SOCKET}"))
}

/// Has `talk` talk to the manager. When time is up the connection is closed under it.
///
/// # Errors
///
/// `manager-unreachable`; `os` when no thread can be had.
pub(crate) fn ask<T, F, Talk>(patience: Patience<'_>, talk: F) -> Result<Answer<T>>
where
    T: Send + 'static,
    F: FnOnce(Connection) -> Talk + Send + 'static,
    Talk: Future<Output = zbus::Result<T>>,
{
    let Patience { wait, stopped } = patience;
    let (tell, told) = mpsc::channel();
    // On a thread of its own: the caller may be inside of another event loop, and waiting must come to an end.
    std::thread::Builder::new()
        .name("confext-manager".to_owned())
        .spawn(move || zbus::block_on(session(wait, tell, talk)))
        .map_err(|error| Error::os("start", "a thread", error))?;
    let started = Instant::now();
    let mut connection = None;
    let answer = loop {
        let left = wait.saturating_sub(started.elapsed());
        match told.recv_timeout(left.min(PAUSE)) {
            Ok(Told::Connected(made)) => connection = Some(made),
            Ok(Told::Ended(answer)) => return Ok(Answer::Said(answer)),
            Ok(Told::Unreachable(error)) => return Err(unreachable(&error.to_string())),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(unreachable("a conversation that broke off"));
            }
            Err(mpsc::RecvTimeoutError::Timeout) if stopped() => break Answer::Stopped,
            Err(mpsc::RecvTimeoutError::Timeout) if started.elapsed() >= wait => break Answer::Late,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    };
    match connection {
        Some(connection) => {
            // The thread waits for what may never come. A connection that cannot be closed is closed already.
            let _ = zbus::block_on(connection.close());
            Ok(answer)
        }
        None => Err(unreachable("no connection in time")),
    }
}

async fn session<T, F, Talk>(wait: Duration, tell: mpsc::Sender<Told<T>>, talk: F)
where
    F: FnOnce(Connection) -> Talk,
    Talk: Future<Output = zbus::Result<T>>,
{
    // Who does not listen any more has waited long enough: no answer is missed.
    let _ = match Builder::address(SOCKET).method_timeout(wait).build().await {
        Ok(connection) => {
            let _ = tell.send(Told::Connected(connection.clone()));
            tell.send(Told::Ended(talk(connection).await))
        }
        Err(error) => tell.send(Told::Unreachable(error)),
    };
}

/// Calls a method of the manager.
pub(crate) async fn call<B: serde::Serialize + zbus::DynamicType>(
    connection: &Connection,
    method: &str,
    body: &B,
) -> zbus::Result<Message> {
    connection.call_method(Some(NAME), PATH, Some(INTERFACE), method, body).await
}

/// All properties that a unit has under one interface, like `Service`. A unit that is not loaded is loaded for it.
pub(crate) async fn properties(
    connection: &Connection,
    unit: &str,
    interface: &str,
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let path: OwnedObjectPath = call(connection, "LoadUnit", &unit).await?.body().deserialize()?;
    let interface = format!("{NAME}.{interface}");
    let (path, properties) = (path.into_inner(), Some("org.freedesktop.DBus.Properties"));
    connection.call_method(Some(NAME), path, properties, "GetAll", &interface).await?.body().deserialize()
}
