//! The text that a SAS signs. Its layout depends on the kind of the SAS and on its version, `sv`.

use time::OffsetDateTime;

use crate::clock::parse_iso;

/// The required order of the permissions for a container or blob.
pub(super) const PERMISSION_LETTERS: &str = "racwdxyltfmeopi";

/// The kind of a SAS: each kind signs other fields, or signs with another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SasKind {
    /// For one container or blob, signed with the account key.
    Service,
    /// For one container or blob, signed with a user delegation key.
    UserDelegation,
    /// For whole resource types of the account, signed with the account key.
    Account,
}

/// The first version that signs the encryption scope.
const WITH_SCOPE: &str = "2020-12-06";

/// The text to sign for `resource` (in the form `/blob/{account}/{container}`; an account SAS names the account
/// only).
///
/// None if `version` is not a version, or if it has no SAS of this kind.
pub(super) fn string_to_sign<'a>(
    kind: SasKind,
    version: &str,
    resource: &'a str,
    field: impl Fn(&str) -> &'a str,
) -> Option<String> {
    let is_date = version.len() == 10
        && version.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let oldest = if kind == SasKind::UserDelegation { "2018-11-09" } else { "2015-04-05" };
    if !is_date || version < oldest {
        return None;
    }
    let names = match kind {
        SasKind::Service => service(version),
        SasKind::UserDelegation => user_delegation(version),
        SasKind::Account => account(version),
    };
    let lines: Vec<&str> =
        names.into_iter().map(|name| if name == RESOURCE { resource } else { field(name) }).collect();
    let mut text = lines.join("\n");
    if kind == SasKind::Account {
        // The only kind whose text ends with a newline.
        text.push('\n');
    }
    Some(text)
}

/// Stands for the resource, which is not a field.
const RESOURCE: &str = "(resource)";
/// Headers that the answer must have.
const HEADERS: [&str; 5] = ["rscc", "rscd", "rsce", "rscl", "rsct"];

fn service(version: &str) -> Vec<&'static str> {
    let mut names = vec!["sp", "st", "se", RESOURCE, "si", "sip", "spr", "sv"];
    if version >= "2018-11-09" {
        names.extend(["sr", "snapshot"]);
    }
    if version >= WITH_SCOPE {
        names.push("ses");
    }
    names.extend(HEADERS);
    names
}

fn user_delegation(version: &str) -> Vec<&'static str> {
    let mut names = vec!["sp", "st", "se", RESOURCE, "skoid", "sktid", "skt", "ske", "sks", "skv"];
    if version >= "2020-02-10" {
        names.extend(["saoid", "suoid", "scid"]);
    }
    if version >= "2025-07-05" {
        names.extend(["skdutid", "sduoid"]);
    }
    names.extend(["sip", "spr", "sv", "sr", "snapshot"]);
    if version >= WITH_SCOPE {
        names.push("ses");
    }
    if version >= "2026-04-06" {
        names.extend(["srh", "srq"]);
    }
    names.extend(HEADERS);
    names
}

fn account(version: &str) -> Vec<&'static str> {
    let mut names = vec![RESOURCE, "sp", "ss", "srt", "st", "se", "sip", "spr", "sv"];
    if version >= WITH_SCOPE {
        names.push("ses");
    }
    names
}

/// Parses a time of a SAS: a date, or a date with a time down to minutes, seconds or fractions.
pub(super) fn parse_sas_time(text: &str) -> Option<OffsetDateTime> {
    match text.len() {
        10 => parse_iso(&format!("{text}T00:00:00Z")),
        17 => parse_iso(&format!("{}:00Z", text.strip_suffix('Z')?)),
        _ => parse_iso(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(kind: SasKind, version: &str) -> Option<usize> {
        string_to_sign(kind, version, "/blob/a/c", |_| "").map(|text| text.split('\n').count())
    }

    #[test]
    fn every_version_has_as_many_lines_as_the_reference_says() {
        for (kind, version, expected) in [
            (SasKind::Service, "2012-02-12", None),
            (SasKind::Service, "2016-05-31", Some(13)),
            (SasKind::Service, "2018-11-09", Some(15)),
            (SasKind::Service, "2020-10-02", Some(15)),
            (SasKind::Service, "2020-12-06", Some(16)),
            (SasKind::Service, "tomorrow!!", None),
            (SasKind::UserDelegation, "2016-05-31", None),
            (SasKind::UserDelegation, "2020-10-02", Some(23)),
            (SasKind::UserDelegation, "2020-12-06", Some(24)),
            (SasKind::UserDelegation, "2025-05-05", Some(24)),
            (SasKind::UserDelegation, "2025-07-05", Some(26)),
            (SasKind::UserDelegation, "2026-04-06", Some(28)),
            // One more than the number of fields, because the last one ends with a newline, too.
            (SasKind::Account, "2020-10-02", Some(10)),
            (SasKind::Account, "2020-12-06", Some(11)),
        ] {
            assert_eq!(lines(kind, version), expected, "{kind:?} {version}");
        }
    }

    #[test]
    fn each_field_has_its_line() {
        let text = |kind| {
            string_to_sign(kind, "2025-07-05", "R", |name| Box::leak(name.to_owned().into_boxed_str()))
        };

        assert_eq!(
            text(SasKind::Service).expect("known"),
            "sp\nst\nse\nR\nsi\nsip\nspr\nsv\nsr\nsnapshot\nses\nrscc\nrscd\nrsce\nrscl\nrsct"
        );
        assert_eq!(
            text(SasKind::UserDelegation).expect("known"),
            "sp\nst\nse\nR\nskoid\nsktid\nskt\nske\nsks\nskv\nsaoid\nsuoid\nscid\nskdutid\nsduoid\nsip\nspr\nsv\nsr\n\
             snapshot\nses\nrscc\nrscd\nrsce\nrscl\nrsct"
        );
        assert_eq!(text(SasKind::Account).expect("known"), "R\nsp\nss\nsrt\nst\nse\nsip\nspr\nsv\nses\n");
    }
}
