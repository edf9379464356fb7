//! The service manager on the system bus. Its own socket would need no bus, but names itself there in a way that `zbus`
//! refuses

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zbus::connection::Builder;
use zbus::export::futures_core::Stream as _;
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

use super::ask::{INTERFACE, NAME, PATH, SOCKET, unreachable};
use super::{Action, Done};
use crate::consumers::Work;
use crate::error::{Error, Result};

/// Tells the manager everything and waits for its jobs.
pub(super) fn tell(work: &Work, wait: Duration) -> Result<Vec<Done>> {
    let deadline = Instant::now().checked_add(wait);
    let (answers, results) = mpsc::channel();
    let work = work.clone();
    // On a thread of its own: the caller may be inside of another event loop, and waiting must come to an end.
    let session = std::thread::Builder::new().name("confext-manager".to_owned());
    session
        .spawn(move || zbus::block_on(Session::run(&work, wait, &answers)))
        .map_err(|error| Error::os("start", "a thread", error))?;
    let mut told = Answers::default();
    loop {
        let left = deadline.map_or(wait, |deadline| deadline.saturating_duration_since(Instant::now()));
        match results.recv_timeout(left) {
            Ok(answer) => told.add(answer)?,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                told.close();
                break;
            }
        }
    }
    if told.done.is_empty() {
        return Err(unreachable("no answer in time"));
    }
    Ok(told.done)
}

/// What the session says.
enum Answer {
    /// It is connected.
    Connected(Connection),
    /// It cannot be.
    Unreachable(zbus::Error),
    /// Something was asked for.
    Asked(Done),
    /// What came of the action of this number.
    Result(usize, String),
}

/// What the session has said so far.
#[derive(Default)]
struct Answers {
    connection: Option<Connection>,
    done: Vec<Done>,
}

impl Answers {
    fn add(&mut self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Connected(connection) => self.connection = Some(connection),
            Answer::Unreachable(error) => {
                return Err(unreachable(&error.to_string()));
            }
            Answer::Asked(done) => self.done.push(done),
            Answer::Result(number, result) => {
                if let Some(done) = self.done.get_mut(number) {
                    done.result = result;
                }
            }
        }
        Ok(())
    }

    /// Ends the session's thread, which waits for what may never come.
    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            // A connection that cannot be closed is closed already.
            let _ = zbus::block_on(connection.close());
        }
    }
}

fn is_no_such_unit(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, ..) if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit")
}

/// What has no result yet.
const WAITING: &str = "unknown";

struct Session<'a> {
    connection: Connection,
    answers: &'a mpsc::Sender<Answer>,
    /// Jobs that are not done, with the number of their action.
    jobs: BTreeMap<String, usize>,
    asked: usize,
}

impl<'a> Session<'a> {
    async fn run(work: &Work, wait: Duration, answers: &'a mpsc::Sender<Answer>) {
        if let Err(error) = Self::talk(work, wait, answers).await {
            // Who does not listen any more has waited long enough.
            let _ = answers.send(Answer::Unreachable(error));
        }
    }

    async fn talk(work: &Work, wait: Duration, answers: &'a mpsc::Sender<Answer>) -> zbus::Result<()> {
        let connection = Builder::address(SOCKET).method_timeout(wait).build().await?;
        let _ = answers.send(Answer::Connected(connection.clone()));
        let removed = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(NAME)
            .interface(INTERFACE)
            .member("JobRemoved")
            .build()?;
        let mut session = Session { connection, answers, jobs: BTreeMap::new(), asked: 0 };
        // Without it, the manager sends no signals to the bus.
        session.call("Subscribe", &()).await?;
        let mut signals = MessageStream::for_match_rule(removed, &session.connection, None).await?;
        if work.reload {
            let result = session.call("Reload", &()).await;
            session.asked(Action::Reload, None, result.map(|_| "done"));
        }
        for (action, unit) in work.in_order() {
            let method = match action {
                Action::Reload => continue,
                Action::Restart => "RestartUnit",
                Action::ReloadOrRestart => "ReloadOrRestartUnit",
                Action::Stop => "StopUnit",
            };
            let job = session.call(method, &(unit, "replace")).await;
            let job = job.and_then(|reply| reply.body().deserialize::<OwnedObjectPath>());
            let number = session.asked;
            match job {
                Ok(job) => {
                    session.asked(action, Some(unit), Ok(WAITING));
                    session.jobs.insert(job.to_string(), number);
                }
                // It does not run: nothing is left to be stopped.
                Err(error) if action == Action::Stop && is_no_such_unit(&error) => {
                    session.asked(action, Some(unit), Ok("skipped"));
                }
                Err(error) => session.asked(action, Some(unit), Err(error)),
            }
        }
        while !session.jobs.is_empty() {
            let next = std::future::poll_fn(|context| Pin::new(&mut signals).poll_next(context)).await;
            let Some(message) = next else { break };
            let body = message?.body();
            let (_, job, _, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
            if let Some(number) = session.jobs.remove(job.as_str()) {
                let _ = session.answers.send(Answer::Result(number, result));
            }
        }
        Ok(())
    }

    async fn call<B: serde::Serialize + zbus::DynamicType>(
        &self,
        method: &str,
        body: &B,
    ) -> zbus::Result<zbus::Message> {
        self.connection.call_method(Some(NAME), PATH, Some(INTERFACE), method, body).await
    }

    fn asked(&mut self, action: Action, unit: Option<&str>, result: zbus::Result<&str>) {
        let (result, message) = match result {
            Ok(result) => (result.to_owned(), None),
            Err(error) => ("refused".to_owned(), Some(error.to_string())),
        };
        let done = Done { action, unit: unit.map(str::to_owned), result, message };
        let _ = self.answers.send(Answer::Asked(done));
        self.asked = self.asked.saturating_add(1);
    }
}
