//! The Rust blocks of README and docs, compiled and run as documentation tests

/// Pages by their names: with `#[cfg(doctest)]`, so that nobody else reads them.
macro_rules! pages {
    ($($name:ident $page:expr;)*) => {
        $(#[cfg(doctest)] #[doc = $page] mod $name {})*
    };
}

pages! {
    embed include_str!("../../docs/howto/embed.md");
    policy include_str!("../../docs/policy.md");
    publish include_str!("../../docs/publish.md");
    rollout include_str!("../../docs/rollout.md");
    run include_str!("../../docs/run.md");
    service include_str!("../../docs/service.md");
}
