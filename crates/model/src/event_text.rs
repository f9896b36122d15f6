//! Reads an event as it is stored.
//!
//! A node that is collected has three events. In the form of [`Event`], `serde` first collects all members of each, and
//! then looks which event it is. These three are therefore read into one struct that has the members of all.

use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::{Event, Recorded};
use crate::fingerprint::Fingerprint;
use crate::ids::NodeIndex;
use crate::outcome::Proof;

/// The members of the three, and no others.
#[derive(Deserialize)]
struct FrequentEvent {
    #[serde(with = "crate::timestamp")]
    at: OffsetDateTime,
    node: Option<NodeIndex>,
    event: EventName,
    attempt: Option<u32>,
    client_request_id: Option<Uuid>,
    service_ahead_ms: Option<i64>,
    directory: Option<Box<str>>,
    files: Option<u32>,
    request_id: Option<Box<str>>,
    bytes: Option<u64>,
    fingerprint: Option<Fingerprint>,
    proof: Option<Proof>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EventName {
    UploadRequested,
    UploadAccepted,
    FilesVerified,
    #[serde(other)]
    Other,
}

impl FrequentEvent {
    /// None if it is another event.
    fn recorded(self) -> Option<Recorded> {
        let event = match self.event {
            EventName::UploadRequested => Event::UploadRequested {
                attempt: self.attempt?,
                client_request_id: self.client_request_id?,
                service_ahead_ms: self.service_ahead_ms,
            },
            EventName::UploadAccepted => Event::UploadAccepted {
                attempt: self.attempt?,
                directory: self.directory?,
                files: self.files,
                request_id: self.request_id,
            },
            EventName::FilesVerified => Event::FilesVerified {
                files: self.files?,
                bytes: self.bytes?,
                fingerprint: self.fingerprint,
                proof: self.proof,
            },
            EventName::Other => return None,
        };
        Some(Recorded { at: self.at, node: self.node, event })
    }
}

impl Recorded {
    /// Reads the stored form.
    ///
    /// # Errors
    /// It is not JSON, or not an event.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        let frequent = serde_json::from_slice(text).ok().and_then(FrequentEvent::recorded);
        // It may have a mistake in what the three have, or be another event.
        frequent.map_or_else(|| serde_json::from_slice(text), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_read_as_by_the_type_itself() {
        let members = [
            r#""attempt":2"#,
            r#""client_request_id":"0e9d2f5a-3c6b-4b1c-9d7e-000000000001""#,
            r#""service_ahead_ms":-3"#,
            r#""service_ahead_ms":null"#,
            r#""directory":"a/p/n\u00e9/r""#,
            r#""files":4"#,
            r#""files":-4"#,
            r#""files":null"#,
            r#""request_id":"q""#,
            r#""bytes":4000000000000"#,
            r#""fingerprint":"0123456789abcdef""#,
            r#""proof":"peers""#,
            r#""proof":"moonlight""#,
            r#""seq":7,"later":{"x":[1]}"#,
            r#""attempt":3"#,
        ];
        let (mut good, mut bad) = (0, 0);
        for event in ["upload-requested", "upload-accepted", "files-verified", "upload-absent", "unheard-of"]
        {
            for node in ["", r#""node":17,"#, r#""node":null,"#, r#""node":"x","#] {
                // Each subset of few members, and of all without few.
                for chosen in 0..1_u32 << members.len() {
                    if !(3..=12).contains(&chosen.count_ones()) || chosen % 7 != 0 {
                        continue;
                    }
                    let members = members.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
                    let members: Vec<_> = members.map(|(_, member)| *member).collect();
                    let text = format!(
                        r#"{{"at":"2026-11-22T09:30:00.125Z",{node}"event":"{event}",{}}}"#,
                        members.join(",")
                    );
                    let read = Recorded::from_json(text.as_bytes());
                    let expected = serde_json::from_str::<Recorded>(&text);
                    assert_eq!(read.as_ref().ok(), expected.as_ref().ok(), "{text}");
                    if read.is_ok() { good += 1 } else { bad += 1 }
                }
            }
        }
        assert!(good > 1000 && bad > 1000, "{good} {bad}");
        assert!(Recorded::from_json(b"{}").is_err() && Recorded::from_json(b"[").is_err());
    }
}
