//! What is asked of the service manager about one unit

use std::collections::HashMap;
use std::pin::Pin;

use zbus::OwnedVariant;
use zbus::export::futures_core::Stream as _;
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

use super::ask::{self, Answer, INTERFACE, NAME};
use super::{Patience, UnitState};
use crate::error::{Error, Result};

pub(super) fn state(unit: &str, patience: Patience<'_>) -> Result<UnitState> {
    let name = unit.to_owned();
    let answer = ask::ask(patience, async move |connection| {
        let unit = ask::properties(&connection, &name, "Unit").await?;
        // Only services have a main process.
        let service = match name.ends_with(".service") {
            true => ask::properties(&connection, &name, "Service").await?,
            false => HashMap::new(),
        };
        Ok((unit, service))
    })?;
    let (of_unit, of_service) = match answer {
        Answer::Said(Ok(properties)) => properties,
        Answer::Said(Err(error)) => return Err(no_unit(unit, &error.to_string())),
        Answer::Late | Answer::Stopped => return Err(ask::unreachable("no answer in time")),
    };
    if text(&of_unit, "LoadState") != "loaded" {
        return Err(no_unit(unit, &format!("a unit that is {}", text(&of_unit, "LoadState"))));
    }
    let main = Main::of(&of_service);
    Ok(UnitState {
        unit: unit.to_owned(),
        active: text(&of_unit, "ActiveState"),
        sub: text(&of_unit, "SubState"),
        main_pid: main.pid,
        started: main.started,
        restarts: number(&of_service, "NRestarts").unwrap_or(0),
        result: text(&of_service, "Result"),
        can_reload: of_unit.get("CanReload").and_then(|value| bool::try_from(value).ok()).unwrap_or(false),
    })
}

/// The main process of a service as `open` opens it, in one conversation: asked for its number before and after, which could
/// have gone to another process meanwhile. `None` where there is none that stays.
pub(super) fn main_process<T: Send + 'static>(
    unit: &str,
    patience: Patience<'_>,
    open: impl Fn(u32) -> Result<T> + Send + 'static,
) -> Result<Option<T>> {
    const ATTEMPTS: usize = 4;
    let name = unit.to_owned();
    let answer = ask::ask(patience, async move |connection| {
        for _ in 0..ATTEMPTS {
            let before = Main::of(&ask::properties(&connection, &name, "Service").await?);
            let Some(pid) = before.pid else { break };
            let opened = open(pid);
            if Main::of(&ask::properties(&connection, &name, "Service").await?) == before {
                return Ok(Some(opened));
            }
        }
        Ok(None)
    })?;
    match answer {
        Answer::Said(Ok(opened)) => opened.transpose(),
        Answer::Said(Err(error)) => Err(no_unit(unit, &error.to_string())),
        Answer::Late | Answer::Stopped => Err(ask::unreachable("no answer in time")),
    }
}

/// Which process is the main one.
#[derive(PartialEq, Eq)]
struct Main {
    pid: Option<u32>,
    started: u64,
}

impl Main {
    fn of(service: &HashMap<String, OwnedVariant>) -> Self {
        let started = service.get("ExecMainStartTimestampMonotonic");
        Self {
            pid: number(service, "MainPID").filter(|pid| *pid != 0),
            started: started.and_then(|value| u64::try_from(value).ok()).unwrap_or(0),
        }
    }
}

fn text(properties: &HashMap<String, OwnedVariant>, name: &str) -> String {
    let text = properties.get(name).and_then(|value| <&str>::try_from(value).ok());
    text.unwrap_or_default().to_owned()
}

fn number(properties: &HashMap<String, OwnedVariant>, name: &str) -> Option<u32> {
    properties.get(name).and_then(|value| u32::try_from(value).ok())
}

fn no_unit(unit: &str, found: &str) -> Error {
    Error::conflict("manager-unit", unit, found, "a unit that is loaded")
}

pub(super) fn reload(unit: &str, patience: Patience<'_>) -> Result<()> {
    let name = unit.to_owned();
    let answer = ask::ask(patience, async move |connection| run(&connection, &name).await)?;
    let found = match answer {
        Answer::Said(Ok(result)) if result == "done" => return Ok(()),
        Answer::Said(Ok(result)) => format!("job {result}"),
        Answer::Said(Err(error)) => error.to_string(),
        Answer::Late => format!("no end of the job within {} s", patience.wait.as_secs_f64()),
        Answer::Stopped => "a caller who does not want to wait any longer".to_owned(),
    };
    Err(Error::conflict("unit-reload", format!("reload {unit}"), found, "job done"))
}

async fn run(connection: &Connection, unit: &str) -> zbus::Result<String> {
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(NAME)
        .interface(INTERFACE)
        .member("JobRemoved")
        .build()?;
    // Without it, the manager sends no signals to the bus.
    ask::call(connection, "Subscribe", &()).await?;
    let mut removed = MessageStream::for_match_rule(rule, connection, None).await?;
    let job = ask::call(connection, "ReloadUnit", &(unit, "replace")).await?;
    let job: OwnedObjectPath = job.body().deserialize()?;
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut removed).poll_next(context)).await;
        let Some(message) = next else { return Ok("unknown: the bus is gone".to_owned()) };
        let body = message?.body();
        let (_, path, _, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
        if path == job {
            return Ok(result);
        }
    }
}
