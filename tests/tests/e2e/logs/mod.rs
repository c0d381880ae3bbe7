//! `ncaas-logs`: a folder or file for each verb.

mod compare;
mod lines;
mod plot;
mod report;
mod save;
mod state;
mod usage;
