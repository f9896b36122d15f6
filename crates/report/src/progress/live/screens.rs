//! Whole screens of two sizes: every byte that is written goes into a terminal emulator, and the time is the test's.

use std::io;

use indicatif::TermLike;
use vt100::Parser;

use super::tests::{Stage, busy, started, throttled};
use super::*;
use crate::progress::PlanningProgress;
use crate::testing::{START, accepted, incomplete, planned, requested, verified};

/// A terminal of a size, which draws what is written to it.
#[derive(Clone)]
struct Emulated(Arc<Mutex<Parser>>);

impl Emulated {
    fn new(rows: u16, columns: u16) -> Self {
        Self(Arc::new(Mutex::new(Parser::new(rows, columns, 0))))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the terminal's methods return it")]
    fn put(&self, bytes: &str) -> io::Result<()> {
        self.0.lock().process(bytes.as_bytes());
        Ok(())
    }

    fn mode(&self) -> ProgressMode {
        let (rows, columns) = self.0.lock().screen().size();
        // As it is measured: the last column stays free.
        let look =
            Look { width: Some(usize::from(columns) - 1), height: Some(rows.into()), ..Look::default() };
        let terminal = self.clone();
        ProgressMode::Bars(Box::new(move || Box::new(terminal.clone())), Box::new(move || look))
    }

    /// The whole screen in a frame, so that its size is seen.
    fn screen(&self) -> String {
        let parser = self.0.lock();
        let (rows, columns) = parser.screen().size();
        let shown: Vec<String> =
            parser.screen().rows(0, columns).map(|row| row.trim_end().to_owned()).collect();
        let last = shown.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
        format!("{}\n-- {} of {rows} rows of {columns} columns", shown[..last].join("\n"), last)
    }
}

impl fmt::Debug for Emulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulated").finish_non_exhaustive()
    }
}

impl TermLike for Emulated {
    fn width(&self) -> u16 {
        self.0.lock().screen().size().1
    }

    fn height(&self) -> u16 {
        self.0.lock().screen().size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}A")) }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}B")) }
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}C")) }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}D")) }
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.put(&format!("{s}\r\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.put(&s.replace('\n', "\r\n"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Three accounts on a bad day: one is throttled, one has a pool from which nothing comes.
fn bad_day(terminal: &Emulated) -> Stage {
    let pool = |account: &'static str, pool: &'static str, nodes: std::ops::Range<u32>| {
        nodes.map(move |node| planned(account, pool, &format!("tvmps_{node:04}")))
    };
    let nodes = pool("contoso", "render", 0..600)
        .chain(pool("fabrikam", "simulate", 0..280))
        .chain(pool("fabrikam", "isolated-vnet", 0..20))
        .chain(pool("northwind-traders-weu", "web", 0..100));
    let mut stage = Stage::of(terminal.mode(), nodes.collect());
    stage.tell(started());
    // Twenty calls a second to the first account, 13 to the second, five to the third; files take three seconds.
    for second in 1..=20 {
        let calls = [(0, 20), (600, 13), (900, 5)];
        stage.second(u64::from(second));
        for (first, rate) in calls {
            let of = |second: u32| first + (second - 1) * rate..first + second * rate;
            stage.hear(of(second), &requested(1)).hear(of(second), &accepted(1, "d", 4));
            if second > 3 {
                stage.hear(of(second - 3), &verified(4, 40));
            }
        }
        match second {
            1 => _ = stage.hear(880..900, &requested(1)).hear(880..900, &accepted(1, "d", 4)),
            8 => _ = stage.hear(590..594, &requested(1)).hear(590..594, &busy()).tell(throttled("contoso")),
            12 => _ = stage.hear(0..2, &incomplete(3, 4)),
            _ => {}
        }
    }
    stage
}

#[test]
fn a_run_on_a_screen_of_80_by_24() {
    let terminal = Emulated::new(24, 80);
    let mut stage = bad_day(&terminal);
    insta::assert_snapshot!(terminal.screen(), @"
    contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    fabrikam/isolated-vnet: nothing complete has arrived 16s after the first of 20
      accepted calls, while other nodes took 3s at most: check the storage
      account's firewall and private endpoint for this pool
    total               ━━━━━━━━━━━╸───────    608/1,000    38.0/s  at most 10m 10s
                        20s calling nodes: 606 verified, 2 incomplete, 134 awaited,
                        4 waiting, 254 not called
    contoso             ━━━━━━━━━━─────────      320/600    20.0/s
                        throttled ×4, 75/s at most, 2 incomplete
    fabrikam            ━━━━━━━━━━━━━──────      208/300    13.0/s
    northwind…aders-weu ━━━━━━━━━━━━━━━────       80/100     5.0/s
    -- 11 of 24 rows of 80 columns
    ");
    stage.progress.drain(StopNotice {
        reason: "stopped by a signal",
        patience: Some(Duration::from_secs(30)),
        resume: Some("fleetlogs resume runs/20261122T093000Z-4f2a"),
    });
    stage.second(25);
    insta::assert_snapshot!(terminal.screen(), @"
    contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    fabrikam/isolated-vnet: nothing complete has arrived 16s after the first of 20
      accepted calls, while other nodes took 3s at most: check the storage
      account's firewall and private endpoint for this pool
    total               ━━━━━━━━━━━╸───────    608/1,000    38.0/s  at most 10m 10s
                        20s calling nodes: 606 verified, 2 incomplete, 134 awaited,
                        4 waiting, 254 not called
    contoso             ━━━━━━━━━━─────────      320/600    20.0/s
                        throttled ×4, 75/s at most, 2 incomplete
    fabrikam            ━━━━━━━━━━━━━──────      208/300    13.0/s
    northwind…aders-weu ━━━━━━━━━━━━━━━────       80/100     5.0/s
    stopped by a signal: waiting at most 30s for files; nothing is lost; press
      Ctrl-C again to stop at once
    resume later: fleetlogs resume runs/20261122T093000Z-4f2a
    total               ━━━━━━━━━━━━───────    646/1,000     7.6/s  at most 25s
                        25s draining: 644 verified, 2 incomplete, 134 awaited,
                        4 waiting, 216 not called
    contoso             ━━━━━━━━━━╸────────      340/600     4.0/s
                        throttled ×4, 75/s at most, 2 incomplete
    fabrikam            ━━━━━━━━━━━━━╸─────      221/300     2.6/s
    northwind…aders-weu ━━━━━━━━━━━━━━━━───       85/100     1.0/s
    -- 21 of 24 rows of 80 columns
    ");
    stage.progress.finish();
    insta::assert_snapshot!(terminal.screen(), @"
    contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    fabrikam/isolated-vnet: nothing complete has arrived 16s after the first of 20
      accepted calls, while other nodes took 3s at most: check the storage
      account's firewall and private endpoint for this pool
    total               ━━━━━━━━━━━╸───────    608/1,000    38.0/s  at most 10m 10s
                        20s calling nodes: 606 verified, 2 incomplete, 134 awaited,
                        4 waiting, 254 not called
    contoso             ━━━━━━━━━━─────────      320/600    20.0/s
                        throttled ×4, 75/s at most, 2 incomplete
    fabrikam            ━━━━━━━━━━━━━──────      208/300    13.0/s
    northwind…aders-weu ━━━━━━━━━━━━━━━────       80/100     5.0/s
    stopped by a signal: waiting at most 30s for files; nothing is lost; press
      Ctrl-C again to stop at once
    resume later: fleetlogs resume runs/20261122T093000Z-4f2a
    -- 14 of 24 rows of 80 columns
    ");
}

#[test]
fn a_run_on_a_screen_of_120_by_40() {
    let terminal = Emulated::new(40, 120);
    let stage = bad_day(&terminal);
    insta::assert_snapshot!(terminal.screen(), @"
    contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    fabrikam/isolated-vnet: nothing complete has arrived 16s after the first of 20 accepted calls, while other nodes took
      3s at most: check the storage account's firewall and private endpoint for this pool
    total                 ━━━━━━━━━━━━━━━━━━────────────    608/1,000    38.0/s  at most 10m 10s
                          20s calling nodes: 606 verified, 2 incomplete, 134 awaited, 4 waiting, 254 not called
    contoso               ━━━━━━━━━━━━━━━━──────────────      320/600    20.0/s  throttled ×4, 75/s at most, 2 incomplete
    fabrikam              ━━━━━━━━━━━━━━━━━━━━╸─────────      208/300    13.0/s
    northwind-traders-weu ━━━━━━━━━━━━━━━━━━━━━━━━──────       80/100     5.0/s
    -- 8 of 40 rows of 120 columns
    ");
    stage.progress.finish();
    insta::assert_snapshot!(terminal.screen(), @"
    contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    fabrikam/isolated-vnet: nothing complete has arrived 16s after the first of 20 accepted calls, while other nodes took
      3s at most: check the storage account's firewall and private endpoint for this pool
    -- 3 of 40 rows of 120 columns
    ");
}

#[test]
fn the_wait_for_files_on_a_screen_of_80_by_24() {
    let terminal = Emulated::new(24, 80);
    let mut stage = Stage::new(terminal.mode(), &[("contoso", 400)]);
    stage.tell(started()).second(1).hear(0..400, &requested(1)).hear(0..400, &accepted(1, "d", 4));
    stage.second(21);
    insta::assert_snapshot!(terminal.screen(), @"
    contoso ──────────────────────────────    0/400    20.0/s  at most 9m 40s
            21s waiting for files: 400 awaited
    -- 2 of 24 rows of 80 columns
    ");
    stage.hear(0..300, &verified(4, 40)).second(22).hear(300..390, &verified(4, 40)).second(24);
    insta::assert_snapshot!(terminal.screen(), @"
    contoso ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━─  390/400    17.4/s  ETA 1s
            24s waiting for files: 390 verified, 10 awaited
    -- 2 of 24 rows of 80 columns
    ");
}

#[test]
fn planning_is_one_line_on_any_screen() {
    for columns in [80, 120] {
        let terminal = Emulated::new(24, columns);
        let planning = PlanningProgress::new(terminal.mode(), ProgressClock::new(START, Instant::now));
        for (account, pools) in [("contoso", 12), ("fabrikam", 40), ("northwind-traders-weu", 3)] {
            planning.update(&fleetlogs_model::ids::AccountName::new(account), pools, pools * 400);
        }
        planning.redraw();
        let screen = terminal.screen();
        let mut rows = screen.lines();
        let first = rows.next().unwrap_or_default();
        assert_eq!(
            first.split_once(' ').map(|(_, text)| text),
            Some("listing 3 accounts: 55 pools, 22,000 nodes")
        );
        assert_eq!(rows.next(), Some(format!("-- 1 of 24 rows of {columns} columns").as_str()));
        planning.finish();
        assert!(terminal.screen().starts_with("\n-- 0 of 24"), "{}", terminal.screen());
    }
}
