//! The hub, over real HTTP: a server on this machine plays it.

mod commands;
#[cfg(unix)]
#[path = "../common/ctrl_c.rs"]
mod ctrl_c;
mod downloads;
mod faults;
#[path = "../data/pictures.rs"]
mod pictures;
mod pushes;
mod refusals;
mod server;
mod site;
mod support;
#[path = "../data/tables.rs"]
mod tables;
mod tls;
mod uploads;
mod xet;
