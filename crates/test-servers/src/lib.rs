//! Real servers for tests: the distribution's Redis, PostgreSQL, MariaDB and
//! Mosquitto, each on a loopback port of its own, with its data in a folder of
//! its own. A server ends with its value.
//!
//! What is missing fails the test with the command that installs it; nothing is
//! skipped.

mod certificates;
mod mariadb;
mod mosquitto;
mod postgres;
mod redis;
mod server;

pub use certificates::{Authority, CertificateFiles};
pub use mariadb::MariaDb;
pub use mosquitto::Mosquitto;
pub use postgres::Postgres;
pub use redis::Redis;
