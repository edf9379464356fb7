//! Rollouts: ended at each system call and finished by the next one, of services of systemd, and of nginx under load

mod killed;
mod machine;
mod nginx;
mod services;
