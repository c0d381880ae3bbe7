//! `ncaas-sync`: a file for each verb, and what several verbs share: links, checksums, resume, round trips.

mod checksums;
mod collect;
mod diff;
mod links;
mod outage;
mod pull;
mod push;
mod resume;
mod round_trip;
mod status;
mod targets;
mod uploads;
mod verify;
