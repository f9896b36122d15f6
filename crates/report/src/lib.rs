//! fleetlogs-report
