//! `sdviz serve`, as a browser, a class, a web UI's client and somebody who means harm see it: a real process on a port of
//! its own, and requests written by hand.
#![cfg(all(unix, feature = "serve"))]

mod client;
mod clients;
mod crowd;
mod doors;
mod folders;
mod lost;
mod watching;
