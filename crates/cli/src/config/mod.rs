//! The config file, read into [`Settings`]. All mistakes are found at once, before the first request.

mod account;
mod defaults;
mod destination;
mod discover;
mod entra;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
mod journal;
mod load;
mod needs;
mod notify;
mod own_container;
mod pick;
mod queue_name;
mod queue_sas;
mod reader;
mod scale_out;
mod schedule;
mod secret;
mod secret_form;
mod selection;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod ticket;
pub(crate) mod times;
mod window;

pub(crate) use self::account::{
    AccountSettings, Auth, ENDPOINT_TO_FILL_IN, corrected_endpoint, name_in_endpoint,
};
pub(crate) use self::defaults::{DEFAULT_API_VERSION, DEFAULTS};
pub(crate) use self::destination::{
    ContainerKey, DestinationSettings, GivenSas, Minting, Place, WriteSettings,
};
pub(crate) use self::discover::DiscoverSettings;
pub(crate) use self::error::ConfigError;
pub(crate) use self::journal::JournalSettings;
pub(crate) use self::load::{config_name, is_stdin, load, load_for, load_journal};
pub(crate) use self::needs::Needs;
pub(crate) use self::notify::{NotifyFormat, NotifySettings, NotifyTo, signing_key};
pub(crate) use self::own_container::OwnContainer;
pub(crate) use self::pick::{PickError, pattern_set};
pub(crate) use self::queue_name::queue_of_site;
pub(crate) use self::queue_sas::HOW_TO_CREATE as HOW_TO_CREATE_QUEUE_SAS;
pub(crate) use self::reader::{Mistake, nearest};
pub(crate) use self::scale_out::{QueueService, ScaleOutSettings};
pub(crate) use self::schedule::{LeaseSettings, ListenerSettings};
pub(crate) use self::secret::{Source, secret_variables};
pub(crate) use self::secret_form::{SecretForm, is_guid};
pub(crate) use self::settings::Settings;
pub(crate) use self::snapshot::{Retention, SnapshotSettings, SnapshotWindow};
pub(crate) use self::ticket::TicketSettings;
pub(crate) use self::times::Misread;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::times::{duration, moment};
pub(crate) use self::window::WindowSpec;

#[cfg(test)]
mod schema_tests;
