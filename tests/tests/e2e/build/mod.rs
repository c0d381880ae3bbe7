//! `ncaas-build`: a file for each verb.

mod base;
mod check;
mod commit;
mod image;
mod push;
mod save;
