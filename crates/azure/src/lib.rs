//! fleetlogs-azure
