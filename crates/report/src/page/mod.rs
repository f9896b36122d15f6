//! `report.html`: the whole run on one page. One file that makes no requests and works offline.
//!
//! It is written in the same pass as the manifest: first the data, in blocks that only the page's own script reads;
//! then, after the last node, what can be read without a script (verdict, causes with their advice, counts). Every name
//! from the service or the config is untrusted: it is escaped here, and the script shows it as text only. The policy
//! in the head of the page lets the browser run this script and no other, and open no connection.
//!
//! Links to a node's directory are the plain URL of the container followed by the directory, never a SAS. There are no
//! links into the Azure portal or Storage Explorer: we assume that they need the subscription and resource group of the
//! storage account, which a run does not know.
//!
//! The number of rows is limited (`MOST_ROWS`). Nodes without a row are still counted, and are in `nodes.csv`.

mod answer;
mod data;
mod document;
mod outcomes;
mod service_trouble;
mod tables;
mod this_run;
mod timeline;

pub(crate) use self::document::Page;
