//! Buckets behave the same whether they are a directory or on a server: the same suite runs over both.
//!
//! The server is a real one, over HTTP: AWS_ENDPOINT_URL says where (`make test` starts LocalStack). Without it these
//! tests fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod directory;
mod faults;
mod fixture;
mod keys;
mod listing;
mod metadata;
mod similar_names;
mod transfer;
mod update;
mod writes;
