//! The engine module against a real Docker Engine: the one that the environment names.

mod archive;
mod connect;
mod lifecycle;
mod ownership;
mod test_container;
