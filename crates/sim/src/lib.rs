//! fleetlogs-sim
