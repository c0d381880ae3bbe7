//! The engine module against a real Docker Engine: the one that the environment names.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part has failed")]
mod archive;
mod connect;
mod lifecycle;
mod ownership;
mod test_container;
