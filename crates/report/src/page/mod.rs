//! `report.html`: the whole run on one page, for eyes. One file that asks nobody for anything and works offline.
//!
//! It grows in the same pass as the manifest: data first, in blocks that only the page's own script reads; then, when
//! all nodes were seen, what can be read without any script (verdict, counts, causes, next steps). Everything a
//! service or a config has named is data: escaped here, and shown by the script as text and nothing else. The
//! policy in the page's head lets the browser run this script and no other, and open no connection.
//!
//! Links to a node's directory are the plain URL of the container with the directory behind it, never a SAS. Links into
//! the Azure portal and into Storage Explorer are taken to need the storage account's subscription and resource group,
//! which no run knows, so there are none.
//!
//! A very large run is bounded: see [`MOST_ROWS`]. What has no row is still counted, and is in `nodes.csv`.

mod data;
mod document;
mod sections;
mod tables;
mod timeline;

pub(crate) use self::document::Page;
