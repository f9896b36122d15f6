//! The simulator over HTTP, in one test program: one is linked much sooner than eighteen.

mod common;

mod access;
mod arm;
mod auth;
mod blocks;
mod clocks;
mod containers;
mod delegation;
mod faults;
mod filters;
mod hostile;
mod leaving;
mod listing;
mod members;
mod policies;
mod reading;
mod storage;
mod tasks;
mod upload;
