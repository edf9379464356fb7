//! What the service manager says of itself, asked over the system bus and changing nothing

use std::time::Duration;

use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant};

use super::ask::{self, Answer, INTERFACE, NAME, PATH, unreachable};
use super::{About, Patience};
use crate::error::Result;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// A unit as `ListUnitsByPatterns` has it; the path is the seventh of its fields.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// Asks, and waits so long at most.
pub(super) fn about(wait: Duration) -> Result<About> {
    match ask::ask(Patience::of(wait), conversation)? {
        Answer::Said(about) => about.map_err(|error| unreachable(&error.to_string())),
        Answer::Late | Answer::Stopped => Err(unreachable("no answer in time")),
    }
}

async fn conversation(connection: Connection) -> zbus::Result<About> {
    let version: OwnedVariant =
        property(&connection, PATH, INTERFACE, "Version").await?.body().deserialize()?;
    let refreshes_on_reload = match any_service(&connection).await? {
        Some(path) => Some(property(&connection, path.as_str(), SERVICE, "RefreshOnReload").await.is_ok()),
        None => None,
    };
    Ok(About { version: String::try_from(version).unwrap_or_default(), refreshes_on_reload })
}

/// All services have the same properties: one that is loaded is asked, and none is loaded for it.
async fn any_service(connection: &Connection) -> zbus::Result<Option<OwnedObjectPath>> {
    let body = (Vec::<&str>::new(), vec!["*.service"]);
    let reply = ask::call(connection, "ListUnitsByPatterns", &body).await?;
    let units: Vec<Listed> = reply.body().deserialize()?;
    Ok(units.into_iter().next().map(|unit| unit.6))
}

async fn property(connection: &Connection, path: &str, interface: &str, name: &str) -> zbus::Result<Message> {
    connection.call_method(Some(NAME), path, Some(PROPERTIES), "Get", &(interface, name)).await
}
