//! JSON as the Batch REST reference defines it.
//!
//! Every member of a pool or node except `id` may be missing or null, and unknown members are ignored: the service
//! adds members over time, and nodes that are still booting lack many. Ids and times are read in place, and a page item by item.

mod execution;
mod list;
mod node;
mod node_error;
mod page_reader;
mod pool;
mod task;
mod upload;
mod values;

pub(crate) use list::ListItem;
pub(crate) use node::NodeAnswer;
pub(crate) use page_reader::{PageReader, PageTrouble, json_trouble};
pub(crate) use pool::{PoolIdentity, PoolIdentityAnswer};
pub(crate) use task::SubtaskAnswer;
pub(crate) use upload::{IdentityReference, UploadAnswer, UploadRequest, time_text};
