//! The URL of a queue with an account SAS, and whether that SAS is good for workers.

use fleetlogs_model::sas::is_https_or_loopback;
use fleetlogs_model::secret::Secret;
use url::Url;

use super::times::Misread;

/// What an account SAS must have for workers. Creating a queue takes `c` or `w`; the rest of `sp` is read, add, update,
/// process.
const NEEDED: [(&str, &str); 3] = [("ss", "q"), ("srt", "co"), ("sp", "raup")];

/// How to create such a SAS.
pub(crate) const HOW_TO_CREATE: &str = "create an account SAS for queues: ss=q, srt=co, sp=racup";

fn misplaced<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Misread> {
    Err(Misread { message: message.into(), help: help.into() })
}

/// Whether this is the endpoint of another service of a storage account: of blobs, say.
pub(super) fn is_of_other_service(url: &Url) -> bool {
    let labels = url.domain().unwrap_or_default().split('.').skip(1);
    labels.take(2).any(|label| matches!(label, "blob" | "dfs" | "file" | "table" | "web"))
}

/// The URL of the queue service, with the SAS, and the name of the queue. A mistake quotes nothing of the text.
pub(super) fn queue_of_url(text: &str) -> Result<(Secret, String), Misread> {
    const FORM: &str = "write it as https://ACCOUNT.queue.core.windows.net/QUEUE?...&sig=...";
    let url = Url::parse(text).ok().filter(is_https_or_loopback);
    let Some(mut url) = url.filter(|url| url.username().is_empty() && url.fragment().is_none()) else {
        return misplaced("this is not the URL of a queue", FORM);
    };
    if is_of_other_service(&url) {
        return misplaced("this is the URL of another service, not that of a queue", FORM);
    }
    let path: Vec<_> = url.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let is_azure = url.domain().is_some_and(|host| host != "localhost");
    let (service, name) = match path.as_slice() {
        [name] if is_azure => (String::new(), name.clone()),
        [account, name] if !is_azure => (account.clone(), name.clone()),
        _ => return misplaced("its path must name a queue and nothing else", FORM),
    };
    let parameter = |wanted: &str| {
        url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    if parameter("sig").is_none_or(|signature| signature.is_empty()) {
        let help =
            format!("{HOW_TO_CREATE}; copy the whole URL, and quote it in a shell: `&` ends a command there");
        return misplaced("it has no SAS, or the SAS was cut off: there is no `sig`", help);
    }
    if parameter("ss").is_none() {
        return misplaced("its SAS opens one queue, and so not the poison queue beside it", HOW_TO_CREATE);
    }
    let mut missing = vec![];
    for (name, letters) in NEEDED {
        let has = parameter(name).unwrap_or_default();
        let lacks = letters.chars().filter(|letter| !has.contains(*letter));
        missing.extend(lacks.map(|letter| format!("`{letter}` in `{name}`")));
        if name == "sp" && !has.contains(['c', 'w']) {
            missing.push("`c` in `sp`".to_owned());
        }
    }
    if !missing.is_empty() {
        return misplaced(format!("its account SAS lacks {}", missing.join(", ")), HOW_TO_CREATE);
    }
    url.set_path(&service);
    Ok((Secret::new(url.into()), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAS: &str = "sv=2022-11-02&ss=bq&srt=sco&sp=rwdlacup&se=2036-01-01&sig=TOPSECRET";

    #[test]
    fn a_url_names_service_and_queue() {
        for (url, service, name) in [
            ("https://logs.queue.core.windows.net/work", "https://logs.queue.core.windows.net/", "work"),
            ("https://logs.queue.core.windows.net/work/", "https://logs.queue.core.windows.net/", "work"),
            (
                "http://127.0.0.1:10001/devstoreaccount1/work",
                "http://127.0.0.1:10001/devstoreaccount1",
                "work",
            ),
        ] {
            let (of, queue) = queue_of_url(&format!("{url}?{SAS}")).unwrap();
            assert_eq!((of.expose(), &*queue), (&*format!("{service}?{SAS}"), name));
        }
    }

    #[test]
    fn what_the_sas_lacks_is_named_and_its_text_is_not() {
        let refused = |query: &str| {
            let url = format!("https://logs.queue.core.windows.net/work?{query}");
            let Misread { message, help } = queue_of_url(&url).unwrap_err();
            assert!(
                !message.contains("TOPSECRET") && help.contains("ss=q, srt=co, sp=racup"),
                "{message} {help}"
            );
            message
        };
        for (from, to, lacks) in [
            ("ss=bq", "ss=bft", "its account SAS lacks `q` in `ss`"),
            ("srt=sco", "srt=s", "its account SAS lacks `c` in `srt`, `o` in `srt`"),
            ("sp=rwdlacup", "sp=rc", "its account SAS lacks `a` in `sp`, `u` in `sp`, `p` in `sp`"),
            ("sp=rwdlacup", "sp=raup", "its account SAS lacks `c` in `sp`"),
            ("ss=bq&srt=sco", "sr=q", "its SAS opens one queue, and so not the poison queue beside it"),
            ("sig=TOPSECRET", "sig=", "it has no SAS, or the SAS was cut off: there is no `sig`"),
        ] {
            assert_eq!(refused(&SAS.replace(from, to)), lacks);
        }
        // Writing includes creating.
        assert!(
            queue_of_url(&format!(
                "https://a.queue.core.windows.net/work?{}",
                SAS.replace("rwdlacup", "rwaup")
            ))
            .is_ok()
        );
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "https://logs.blob.core.windows.net/work",
            "https://logs.queue.core.windows.net",
            "https://logs.queue.core.windows.net/work/messages",
            "http://logs.queue.core.windows.net/work",
            "http://127.0.0.1:10001/work",
        ] {
            assert!(queue_of_url(&format!("{url}?{SAS}")).is_err(), "{url}");
        }
    }
}
