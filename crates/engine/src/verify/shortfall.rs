//! What is recorded of a directory whose files do not prove to be all there, in words.

use fleetlogs_model::event::Event;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::PoolId;
use fleetlogs_model::outcome::Shortfall;

use super::awaited::{AwaitedDirectory, Contents};
use super::promises::PeerProof;

/// The reason of a node that was given the directory of another one.
pub(super) const FOREIGN_DIRECTORY: &str =
    "the service named a directory that is not this node's, so what is in it does not count";

/// A node whose files are not all there.
pub(super) fn event(
    Contents { files, bytes, .. }: Contents,
    shortfall: Shortfall,
    reason: impl Into<Box<str>>,
) -> Event {
    Event::FilesIncomplete { files, bytes, reason: reason.into(), shortfall: Some(shortfall) }
}

/// A node whose files are there, without a proof that they are all.
pub(super) fn adopted(seen: Contents, proof: PeerProof) -> Event {
    let Contents { files, bytes, fingerprint } = seen;
    let why = match proof {
        PeerProof::Fewer(most) => format!("another node of the pool promised {most}"),
        PeerProof::TooFewKnown => "fewer than three nodes of the same pool and time window tell".to_owned(),
        // All files are there, but the looks at them were too close together.
        PeerProof::Given => {
            "the files had not been unchanged for long enough at the verification deadline".to_owned()
        }
    };
    let reason = format!("how many files the node promised is not known; {why}");
    Event::FilesAdopted { files, bytes, fingerprint, reason: reason.into() }
}

/// A node whose files were not all there, or not seen to be, when the time was over.
/// `trouble` is why the last listing that should have shown it failed; none if that listing was whole.
pub(super) fn incomplete(
    awaited: &AwaitedDirectory,
    trouble: Option<&Failure>,
    pool: &PoolId,
    pool_delivers: bool,
) -> Event {
    let files = awaited.seen.files;
    let of_all = match awaited.promised {
        Some(promised) => format!("{files} of {promised} files"),
        None => format!("{files} files"),
    };
    let (shortfall, reason) = match (files, trouble) {
        (0, Some(failure)) => {
            (Shortfall::NotListed, format!("the container could not be listed: {failure}"))
        }
        (0, None) if pool_delivers => {
            (Shortfall::NothingArrived, "no file arrived before the verification deadline".to_owned())
        }
        (0, None) => {
            let reason = format!("storage blocked from pool `{pool}`: none of its nodes' files arrived");
            (Shortfall::NothingArrived, reason)
        }
        (_, Some(failure)) => {
            let shortfall =
                if awaited.is_enough() { Shortfall::SeenOnce } else { Shortfall::NotListed };
            (shortfall, format!("{of_all} had arrived when the container could no longer be listed: {failure}"))
        }
        (_, None) if !awaited.is_enough() => {
            (Shortfall::FilesMissing, format!("{of_all} arrived before the verification deadline"))
        }
        (_, None) if awaited.has_changed() => {
            (Shortfall::StillChanging, "the files were still changing at the verification deadline".to_owned())
        }
        (_, None) => (
            Shortfall::SeenOnce,
            "the files were seen only once: no later look confirmed before the verification deadline that they \
             stayed the same"
                .to_owned(),
        ),
    };
    event(awaited.seen, shortfall, reason)
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::failure::FailureClass;
    use fleetlogs_model::fingerprint::Fingerprint;
    use fleetlogs_model::ids::NodeIndex;

    use super::super::awaited::SinceStart;
    use super::*;

    /// A directory in which each look showed so many files.
    fn seen(promised: Option<u32>, looks: &[u32]) -> AwaitedDirectory {
        let mut awaited = AwaitedDirectory::new(NodeIndex(0), promised, false, SinceStart(0));
        for (at, files) in (1..).map(SinceStart).zip(looks) {
            let contents = Contents { files: *files, bytes: 0, fingerprint: Fingerprint::default() };
            awaited.note(contents, at, at);
        }
        awaited
    }

    #[test]
    fn each_shortfall_has_its_own_reason() {
        // What was promised, what was seen, what went wrong with lists, and whether others of the pool deliver.
        type Case<'a> = (Option<u32>, &'a [u32], Option<&'a Failure>, bool, Shortfall, &'a str);
        let failure = Failure::new(FailureClass::Transient, "no route");
        let failed = Some(&failure);
        let known = Some(4);
        let table: [Case<'_>; 10] = [
            (known, &[0], None, true, Shortfall::NothingArrived, "no file arrived before"),
            (known, &[0], None, false, Shortfall::NothingArrived, "storage blocked from pool `Pool`"),
            (known, &[0], failed, true, Shortfall::NotListed, "the container could not be listed: "),
            (known, &[3], failed, true, Shortfall::NotListed, "3 of 4 files had arrived when"),
            (known, &[4], failed, true, Shortfall::SeenOnce, "4 of 4 files had arrived when"),
            (None, &[3], failed, true, Shortfall::SeenOnce, "3 files had arrived when"),
            (known, &[3], None, true, Shortfall::FilesMissing, "3 of 4 files arrived before"),
            (known, &[3, 4], None, true, Shortfall::SeenOnce, "the files were seen only once"),
            (known, &[4, 5], None, true, Shortfall::StillChanging, "the files were still changing"),
            (None, &[4], None, true, Shortfall::SeenOnce, "the files were seen only once"),
        ];
        for (promised, looks, trouble, delivers, expected, begins) in table {
            let event = incomplete(&seen(promised, looks), trouble, &PoolId::new("Pool"), delivers);
            let Event::FilesIncomplete { files, reason, shortfall, .. } = event else { panic!("{event:?}") };
            assert_eq!((Some(files), shortfall), (looks.last().copied(), Some(expected)), "{reason}");
            assert!(reason.starts_with(begins), "{reason}");
        }
    }
}
