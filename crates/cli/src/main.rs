//! fleetlogs
fn main() {}
