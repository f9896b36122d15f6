//! Uploads to containers outside the simulator: Azurite, real storage, or nothing at all.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Client;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use url::Url;

use super::log_file::LogFile;
use super::queue::Delivery;
use super::target::Place;
use crate::world::World;

/// As many as a home connection and a storage emulator can take; the nodes of a real fleet have a network card each.
const AT_ONCE: usize = 64;

/// Characters of a blob name that need no escape in a path.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Uploads the files from `files` until its other end is dropped.
pub(crate) async fn upload_to_others(
    world: Arc<World>,
    mut files: mpsc::UnboundedReceiver<(Delivery, LogFile)>,
) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut puts = JoinSet::new();
    while let Some((delivery, file)) = files.recv().await {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        while puts.try_join_next().is_some() {}
        let world = Arc::clone(&world);
        puts.spawn(async move {
            let _slot = slot;
            let put = put_with_one_retry(&delivery, &file).await;
            world.store.ledger.put_calls.fetch_add(1, Relaxed);
            if !put {
                world.store.ledger.put_failures.fetch_add(1, Relaxed);
            }
            delivery.finish(&world, &file, put);
        });
    }
}

async fn put_with_one_retry(delivery: &Delivery, file: &LogFile) -> bool {
    let Place::Elsewhere { url } = &delivery.upload.target.place else { return false };
    put_file(url, file).await || put_file(url, file).await
}

async fn put_file(container: &Url, file: &LogFile) -> bool {
    let Some(client) = client_for(container) else { return false };
    let mut url = container.clone();
    let path =
        format!("{}/{}", container.path().trim_end_matches('/'), utf8_percent_encode(&file.name, NAME));
    url.set_path(&path);
    let request = client
        .put(url)
        .header("x-ms-blob-type", "BlockBlob")
        .header("x-ms-version", "2022-11-02")
        .header("content-type", "text/plain")
        .body(file.content.bytes());
    request.send().await.is_ok_and(|response| response.status().is_success())
}

/// One client for loopback, which must not use a proxy, and one for everything else, which may have to.
fn client_for(container: &Url) -> Option<&'static Client> {
    static NEAR: OnceLock<Option<Client>> = OnceLock::new();
    static FAR: OnceLock<Option<Client>> = OnceLock::new();
    let builder = || Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(AT_ONCE);
    // Another part of the process may have installed a provider already; that one serves as well.
    let _: Result<(), _> = rustls::crypto::ring::default_provider().install_default();
    let near = matches!(container.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if near {
        NEAR.get_or_init(|| builder().no_proxy().build().ok()).as_ref()
    } else {
        FAR.get_or_init(|| builder().build().ok()).as_ref()
    }
}
