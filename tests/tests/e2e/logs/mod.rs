//! `ncaas-logs`: a folder or file for each verb.

mod lines;
mod plot;
mod save;
mod state;
mod usage;
