//! The Docker Engine: its address, and the requests that several tools make.
//!
//! [`Engine`] is the connection. A tool makes its other requests with [`Engine::docker`], and turns errors into
//! failures with [`EngineContext::engine_context`].
//!
//! - [`address`]: where the engine is, resolved as the docker CLI does it
//! - [`Engine::is_podman`]: Podman answers the same requests, some of them differently
//! - [`container`]: the state of a container, as a record has it
//! - [`container_layer`]: the files of a container that differ from its image
//! - [`labels`]: the labels by which the tools find their containers
//! - [`Engine::inspect_target`]: the container and the record that an argument names
//! - [`archive`]: files in and out of containers; [`path`]: a single path in a container
//! - [`Engine::open_http_connection`]: a connection for requests that the client cannot make
//! - [`Engine::repair_ownership`]: gives the files that a job left on this machine to the user
//! - [`Engine::remove_unused_work`]: removes the work folder of a job after its container
//! - [`reference`](mod@reference): the names that may be part of a request
//!
//! The client sends its requests without an API version (bollard 0.21.1), so each engine answers with its newest
//! version: 1.41 (20.10) to 1.51 (28.5) are tested, and engines that refuse old versions work too. The client runs on a
//! current-thread runtime: on several threads it takes twice the time.

pub mod address;
pub mod archive;
mod backoff;
mod connection;
pub mod container;
pub mod container_layer;
mod daemon_start;
mod errors;
pub mod executable;
mod exit_cause;
mod exit_evidence;
mod file_ownership;
mod helper_container;
mod image_suggestion;
mod kernel_oom;
pub mod labels;
mod lazy;
mod missing_image;
pub mod path;
pub mod podman;
mod raw_connection;
pub mod reference;
mod ssh;
mod start_hint;
mod state_change;
mod state_file;
mod stop;
mod target;
mod wait;
mod work_folder;

pub use backoff::{Backoff, OUTAGE_LIMIT};
pub use connection::Engine;
pub use errors::{EngineContext, Subject, failure, is_disk_full};
pub use file_ownership::FileOwner;
pub use lazy::LazyEngine;
pub use raw_connection::{HttpConnection, error_message};
pub use state_file::StateFiles;
pub use stop::STOP_GRACE_S;
