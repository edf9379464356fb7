//! The command as programs use it: documents, codes and exit statuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    unreachable_pub,
    reason = "a panic here is a failed test"
)]

mod doctor;
mod documents;
mod faults;
mod fixture;
mod generated;
mod host;
mod manager;
mod open;
mod partition;
mod policy;
mod rollout;
mod schema;
mod service;
mod sign;
mod text;
mod trust_and_store;
