use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::{AccountName, NodeId, NodeRef, PoolId};
use fleetlogs_model::service::Blob;
use parking_lot::Mutex;
use tokio::time::{Instant, advance};

use super::*;
use crate::clock::Clock;
use crate::testing::{NOW, ScriptedStore};

const NODE: NodeIndex = NodeIndex(0);

fn node(id: &str) -> NodeRef {
    NodeRef { account: AccountName::new("contoso"), pool: PoolId::new("Render"), node: NodeId::new(id) }
}

fn put(store: &ScriptedStore, blobs: &[(&str, i64)]) {
    for (directory, second) in blobs {
        store.put_at(NOW + time::Duration::seconds(*second), directory, 1);
    }
}

fn store(blobs: &[(&str, i64)]) -> ScriptedStore {
    let store = ScriptedStore::default();
    store.now();
    put(&store, blobs);
    store
}

fn directories() -> AccountDirectories {
    AccountDirectories::new(Naming::of(&AccountName::new("contoso")), Arc::default())
}

fn learned() -> AccountDirectories {
    let directories = directories();
    directories.naming.learn(&PoolId::new("RENDER"), "contoso-00/render/whatever/x");
    directories
}

/// A call at [`NOW`] that is looked for a minute later.
struct Scene {
    intent: Intent,
    clock: Clock,
}

impl Scene {
    fn of_this_process() -> Self {
        let clock = Clock::Since(NOW, Instant::now());
        Self { intent: Intent::new(&Now::read(clock, Some(NOW))), clock }
    }

    fn of_an_earlier_process() -> Self {
        Self { intent: Intent::recorded(NOW, Some(0)), ..Self::of_this_process() }
    }

    fn now(&self, service_moved: time::Duration) -> Now {
        Now::read(self.clock, Some(self.clock.now() + service_moved))
    }

    async fn look(&self, store: &ScriptedStore, directories: &AccountDirectories, id: &str) -> Finding {
        self.look_after(store, directories, id, time::Duration::ZERO).await
    }

    /// The same, after the service's clock moved.
    async fn look_after(
        &self,
        store: &ScriptedStore,
        directories: &AccountDirectories,
        id: &str,
        service_moved: time::Duration,
    ) -> Finding {
        let now = self.now(service_moved);
        let sought = [Sought { node: NODE, at: node(id), is_due: true, is_thorough: true }];
        let outlook = &mut Outlook::default();
        let searcher = Searcher { store, naming: &directories.naming, outlook, now };
        let (sightings, trouble) = searcher.look(&sought).await;
        assert_eq!(trouble, None);
        assert!(sightings[&NODE].is_whole);
        let lost = LostCall { first: &self.intent, age: self.intent.age(&now), shown: None };
        directories.judge(&lost, &sightings[&NODE].directories)
    }
}

fn found(directory: &str, others: &[&str]) -> Finding {
    let others = others.iter().map(|other| Box::from(*other)).collect();
    Finding::Found { directory: directory.into(), others }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn the_newest_directory_since_the_call_is_found_and_older_ones_are_not() {
    let store = store(&[
        ("contoso-00/render/n1/before", -60),
        ("contoso-00/render/n1/first", 1),
        ("contoso-00/render/n1/second", 9),
        ("contoso-00/render/n10/other", 5),
        ("contoso-00/other/n1/other", 5),
    ]);
    let scene = Scene::of_this_process();
    advance(MINUTE).await;
    let expected = found("contoso-00/render/n1/second", &["contoso-00/render/n1/first"]);
    assert_eq!(scene.look(&store, &directories(), "n1").await, expected);
    assert_eq!(scene.look(&store, &learned(), "n1").await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_directory_of_an_earlier_round_or_of_another_node_is_not_adopted() {
    for claimed in ["contoso-00/render/tvm_1/x", "contoso-00/Render/tvm-1/X/", "contoso-00/render/tvm-1/x"] {
        let store = store(&[("contoso-00/render/tvm-1/x", 1)]);
        let (scene, directories) = (Scene::of_this_process(), learned());
        advance(MINUTE).await;
        let look = async || scene.look(&store, &directories, "tvm_1").await;
        assert_eq!(look().await, found("contoso-00/render/tvm-1/x", &[]));
        directories.claims.claim(claimed, NodeIndex(7));
        assert_eq!(look().await, Finding::Absent, "{claimed}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_since_the_call_is_absent_once_the_naming_is_known() {
    let store = store(&[("contoso-00/render/n1/before", -3)]);
    let (scene, directories) = (Scene::of_this_process(), directories());
    advance(MINUTE).await;
    assert_eq!(scene.look(&store, &directories, "n1").await, Finding::Unknown(Why::Naming));
    directories.naming.learn(&PoolId::new("other"), "contoso-00/render/n2/x");
    assert_eq!(scene.look(&store, &directories, "n1").await, Finding::Unknown(Why::Naming));
    directories.naming.learn(&PoolId::new("RENDER"), "contoso-00/render/n2/x");
    assert_eq!(scene.look(&store, &directories, "n1").await, Finding::Absent);
}

#[test]
fn an_account_is_listed_below_its_name_until_its_calls_show_another() {
    let naming = directories().naming;
    assert_eq!(naming.account_prefix(), "contoso-");
    naming.learn(&PoolId::new("Render"), "realname-00/render/n2/y");
    assert_eq!(naming.account_prefix(), "realname-00/");
}

#[tokio::test(start_paused = true)]
async fn an_underscore_may_have_become_a_hyphen() {
    for id in ["tvm_1", "tvm-1"] {
        let store = store(&[(&format!("contoso-00/render/{id}/x"), 1)]);
        let (scene, directories) = (Scene::of_this_process(), learned());
        advance(MINUTE).await;
        let found = found(&format!("contoso-00/render/{id}/x"), &[]);
        assert_eq!(scene.look(&store, &directories, "tvm_1").await, found);
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_that_of_the_node_with_this_very_id_before_another_spelling() {
    let store = store(&[("contoso-00/render/tvm-1/x", 1)]);
    let (directories, mut outlook) = (learned(), Outlook::default());
    let sought = [("tvm_1", 0), ("tvm-1", 1)].map(|(id, number)| Sought {
        node: NodeIndex(number),
        at: node(id),
        is_due: true,
        is_thorough: true,
    });
    let now = Scene::of_this_process().now(time::Duration::ZERO);
    let searcher = Searcher { store: &store, naming: &directories.naming, outlook: &mut outlook, now };
    let (sightings, _) = searcher.look(&sought).await;
    assert!(sightings[&NodeIndex(0)].directories.is_empty());
    assert_eq!(sightings[&NodeIndex(1)].directories.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_may_have_another_name_in_the_config_and_directories_fewer_parts() {
    for root in ["realname-00/", ""] {
        let store = store(&[(&format!("{root}render/n1/x"), 1)]);
        let (scene, directories) = (Scene::of_this_process(), directories());
        directories.naming.learn(&PoolId::new("Render"), &format!("{root}render/n2/y"));
        advance(MINUTE).await;
        let found = found(&format!("{root}render/n1/x"), &[]);
        assert_eq!(scene.look(&store, &directories, "n1").await, found);
    }
}

#[tokio::test(start_paused = true)]
async fn storages_own_clock_dates_a_directory_however_far_it_is_off() {
    for ahead in [-86_400, -1200, 0, 1200] {
        let store = store(&[("contoso-00/render/n1/x", ahead + 1), ("contoso-00/render/n1/old", ahead - 30)]);
        *store.clock_ahead.lock() = time::Duration::seconds(ahead);
        let scene = Scene::of_this_process();
        advance(MINUTE).await;
        let expected = found("contoso-00/render/n1/x", &[]);
        assert_eq!(scene.look(&store, &learned(), "n1").await, expected, "{ahead} s ahead");
    }
}

/// The service's clock, and with it storage's, moves against this machine's between call and search: what else shows
/// when this machine's clock is set.
#[tokio::test(start_paused = true)]
async fn after_a_clock_was_set_nothing_is_absent_and_nothing_of_before_is_adopted() {
    let ours = ("contoso-00/render/n1/ours", 5);
    let old = ("contoso-00/render/n1/old", -1800);
    let adopted = || found("contoso-00/render/n1/ours", &[]);
    let unknown = || Finding::Unknown(Why::Clock);
    for moved in [-3600, -60, -7, 7, 60, 3600] {
        for is_ours in [true, false] {
            // If services really went back an hour, what they stamped before would come from the future. Only what the
            // container held before the first call helps then, and an earlier process knew that.
            if moved == -3600 && !is_ours {
                continue;
            }
            for (blobs, expected) in [(&[][..], unknown()), (&[ours][..], adopted())] {
                let (store, directories) = (store(&[old]), learned());
                directories.look_before(&store).await;
                let scene = if is_ours { Scene::of_this_process() } else { Scene::of_an_earlier_process() };
                put(&store, blobs);
                advance(MINUTE).await;
                let by = time::Duration::seconds(moved);
                *store.clock_ahead.lock() = by;
                let finding = scene.look_after(&store, &directories, "n1", by).await;
                assert_eq!(finding, expected, "by {moved} s, call of this process: {is_ours}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_appears_while_somebody_looks_is_new_whatever_the_clocks_say() {
    let scene = Scene::of_an_earlier_process();
    let directories = learned();
    advance(MINUTE).await;
    let now = scene.now(time::Duration::minutes(-5));
    let age = scene.intent.age(&now);
    let seen = BTreeMap::from([("contoso-00/render/n1/x".into(), Some(time::Duration::hours(3)))]);
    let mut shown = Shown { is_whole: true, ..Shown::default() };
    let judge = |shown: &Shown| {
        let lost = LostCall { first: &scene.intent, age, shown: Some(shown) };
        directories.judge(&lost, &seen)
    };
    assert_eq!(judge(&shown), found("contoso-00/render/n1/x", &[]));
    shown.directories.insert(directory_key("contoso-00/render/n1/x"));
    assert_eq!(judge(&shown), Finding::Unknown(Why::Clock));
}

#[tokio::test(start_paused = true)]
async fn if_clocks_disagree_about_the_call_a_directory_between_must_be_missing_from_a_whole_listing_before() {
    let scene = Scene::of_this_process();
    let seconds = Duration::from_secs;
    let age = Age { trusted: seconds(10), longest: seconds(100), least: seconds(10), moved: true };
    let judge = |before: Option<bool>, age, seconds| {
        let directories = learned();
        if let Some(is_whole) = before {
            directories.before.set(Shown { is_whole, ..Shown::default() }).unwrap();
        }
        let seen =
            BTreeMap::from([("contoso-00/render/n1/x".into(), Some(time::Duration::seconds(seconds)))]);
        directories.judge(&LostCall { first: &scene.intent, age, shown: None }, &seen)
    };
    assert_eq!(judge(Some(true), age, 50), found("contoso-00/render/n1/x", &[]));
    assert_eq!(judge(Some(false), age, 50), Finding::Unknown(Why::Clock));
    assert_eq!(judge(None, age, 50), Finding::Unknown(Why::Clock));
    // Older than the call by every clock.
    assert_eq!(judge(Some(true), age, 200), Finding::Unknown(Why::Clock));
    let agreed = Age { longest: seconds(10), moved: false, ..age };
    assert_eq!(judge(Some(true), agreed, 200), Finding::Absent);
}

#[tokio::test(start_paused = true)]
async fn second_directories_are_those_of_the_node_since_its_first_call() {
    let of = |name: &str| format!("contoso-00/render/n1/{name}");
    let directories = Arc::new(learned());
    directories.look_before(&store(&[(&of("old"), 0)])).await;
    directories.claims.claim(&of("of-another"), NodeIndex(7));
    directories.claims.claim(&of("own"), NODE);
    let scenes = [Scene::of_this_process(), Scene::of_an_earlier_process()];
    advance(MINUTE).await;
    let seen = [
        ("at-the-call", Some(62)),
        ("before", Some(63)),
        ("of-another", Some(10)),
        ("old", Some(61)),
        ("own", Some(50)),
        ("unclaimed", Some(0)),
        ("undated", None),
    ];
    let made_since = |scene: &Scene| {
        let seen = seen.map(|(name, age)| (of(name).into(), age.map(time::Duration::seconds)));
        let seen = SeenNode { directories: seen.into(), is_whole: true };
        let (account, directories) = (AccountIndex(0), directories.clone());
        let call = RepeatedCall { node: NODE, account, first: scene.intent, clock_moved: false, directories };
        let age = scene.intent.age(&scene.now(time::Duration::ZERO));
        call.directories.made_since(&call, age, seen)
    };
    let expected = |names: &[&str]| names.iter().map(|name| of(name).into()).collect::<Vec<Box<str>>>();
    assert_eq!(made_since(&scenes[0]), expected(&["at-the-call", "own", "unclaimed"]));
    // An earlier process may have made what was there when this one began.
    assert_eq!(made_since(&scenes[1]), expected(&["at-the-call", "old", "own", "unclaimed"]));
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_the_first_call_is_not_of_a_later_one() {
    let (store, directories) = (store(&[("contoso-00/render/n1/old", 0)]), learned());
    directories.look_before(&store).await;
    // Within the tolerance of the clocks.
    let (ours, earlier) = (Scene::of_this_process(), Scene::of_an_earlier_process());
    advance(MINUTE).await;
    assert_eq!(ours.look(&store, &directories, "n1").await, Finding::Absent);
    // An earlier process may have made it.
    assert_eq!(earlier.look(&store, &directories, "n1").await, found("contoso-00/render/n1/old", &[]));
}

#[tokio::test(start_paused = true)]
async fn many_nodes_are_looked_for_with_few_list_calls() {
    let nodes: Vec<_> = (0..600).map(|number| format!("contoso-00/render/n{number}/x")).collect();
    let store = store(&nodes.iter().map(|directory| (directory.as_str(), 1)).collect::<Vec<_>>());
    let (directories, mut outlook) = (learned(), Outlook::default());
    let now = Scene::of_this_process().now(time::Duration::ZERO);
    for is_thorough in [false, true] {
        let sought = |number| Sought {
            node: NodeIndex(number),
            at: node(&format!("n{number}")),
            is_due: true,
            is_thorough,
        };
        let sought: Vec<_> = (0..18).map(sought).collect();
        let outlook = &mut outlook;
        let searcher = Searcher { store: &store, naming: &directories.naming, outlook, now };
        let (sightings, _) = searcher.look(&sought).await;
        assert!(sightings.values().all(|seen| seen.is_whole && seen.directories.len() == 1));
    }
    assert_eq!(store.lists.load(std::sync::atomic::Ordering::SeqCst), 2, "one page each");
}

#[tokio::test(start_paused = true)]
async fn a_listing_without_an_end_is_given_up_and_not_read_as_fast_as_it_comes() {
    struct Endless(Mutex<u32>);
    impl LogStore for Endless {
        async fn list(&self, _: &str, marker: Option<&str>) -> Result<BlobPage, Failure> {
            *self.0.lock() += 1;
            let number: u32 = marker.map_or(0, |marker| marker.parse().unwrap());
            let name = format!("contoso-00/render/n1/x/{number:09}");
            let blob = Blob { name, size: 1, created_at: Some(NOW) };
            Ok(BlobPage { blobs: vec![blob], next: Some((number + 1).to_string()), date: Some(NOW) })
        }
    }
    let store = Endless(Mutex::default());
    let began = Instant::now();
    let listed = each_page(&store, "", 10_000, &mut 0, |_| {}).await;
    assert_eq!(&*listed.unwrap_err().message, "the listing has no end");
    assert_eq!(*store.0.lock(), 10_000);
    assert!(began.elapsed() > Duration::from_secs(400), "{:?}", began.elapsed());
}
