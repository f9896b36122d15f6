//! Text for people.

pub(crate) use fleetlogs_model::count::counted;
