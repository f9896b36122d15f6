//! HTTP for a server that must be able to misbehave.

mod after_answer;
mod body;
mod query;
mod request_body;
mod server;

pub(crate) use after_answer::AfterAnswer;
pub(crate) use body::ReplyBody;
pub(crate) use query::{Query, decode};
pub(crate) use request_body::read_body;
pub(crate) use server::{Answer, HangUp, Peer, Service, bind, serve};
