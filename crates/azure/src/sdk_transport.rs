//! How the Azure SDK reaches the network: through fleetlogs's own HTTP client, with a limit on the size of answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use azure_core::error::ErrorKind;
use azure_core::http::{AsyncRawResponse, ClientOptions, HttpClient, Request, RetryOptions, Transport};
use futures::StreamExt;

/// A page of 5,000 blobs is about six megabytes.
const LONGEST_ANSWER: usize = 64 << 20;

/// Our HTTP client in the form that the SDK needs.
pub(crate) fn transport(http: reqwest::Client) -> Transport {
    Transport::new(Arc::new(BoundedClient(http)))
}

/// Options for a client of the SDK.
pub(crate) fn client_options(transport: Transport, retry: RetryOptions) -> ClientOptions {
    ClientOptions { retry, transport: Some(transport), ..Default::default() }
}

#[derive(Debug)]
struct BoundedClient(reqwest::Client);

impl HttpClient for BoundedClient {
    // Written by hand because the trait uses `async_trait`, which would be a dependency for this alone.
    fn execute_request<'a, 'b, 'c>(
        &'a self,
        request: &'b Request,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let (status, headers, body) = self.0.execute_request(request).await?.deconstruct();
            let mut length = 0;
            let body = body.map(move |chunk| {
                let chunk = chunk?;
                length += chunk.len();
                if length > LONGEST_ANSWER {
                    let message = format!("the answer is longer than {LONGEST_ANSWER} bytes");
                    return Err(azure_core::Error::with_message(ErrorKind::Other, message));
                }
                Ok(chunk)
            });
            Ok(AsyncRawResponse::new(status, headers, Box::pin(body)))
        })
    }
}
