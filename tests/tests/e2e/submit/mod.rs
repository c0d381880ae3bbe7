//! `ncaas-submit`: a file or folder for each verb.

mod cancel;
mod check;
mod hostile_group;
mod init;
mod ls;
mod place;
mod retry;
mod send;
mod serve;
mod targets;
mod wait;
mod watch;
