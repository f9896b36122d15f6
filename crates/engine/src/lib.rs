//! fleetlogs-engine
