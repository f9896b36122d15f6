//! The command line, environment and resource files of simulated tasks. Nothing runs them. They exist so that tests
//! can check that clients leave them out: in real fleets they contain what must not be passed on.

use super::json::Json;
use crate::scenario::Os;

/// A text that no client may ever print, store or send.
const SECRET: &str = "FAKE-SECRET-IN-TASK";

/// `commandLine`, `environmentSettings` and `resourceFiles`: start tasks and tasks use the same names.
pub(super) const MEMBERS: [&str; 3] = ["commandLine", "environmentSettings", "resourceFiles"];

/// Writes the member of [`MEMBERS`] called `name`; any other name gets a command line.
pub(super) fn member(json: &mut Json, name: &str, os: Os) {
    match name {
        "commandLine" | "coordinationCommandLine" => {
            let command = format!("work --password {SECRET}");
            match os {
                Os::Linux => json.text(name, &format!("/bin/sh -c '{command}'")),
                Os::Windows => json.text(name, &format!("cmd /c {command}")),
            }
        }
        "environmentSettings" => environment(json, name),
        _ => json.list(name, |json| {
            json.item(|json| {
                json.text(
                    "httpUrl",
                    &format!("https://simulated.blob.core.windows.net/in/tool?sig={SECRET}"),
                );
                json.text("filePath", "tool");
            });
        }),
    }
}

pub(super) fn environment(json: &mut Json, name: &str) {
    json.list(name, |json| {
        json.item(|json| {
            json.text("name", "DATABASE_PASSWORD");
            json.text("value", SECRET);
        });
    });
}

/// The user that a task runs as.
pub(super) fn user(json: &mut Json, name: &str, level: &str) {
    json.object(name, |json| {
        json.object("autoUser", |json| {
            json.text("scope", "pool");
            json.text("elevationLevel", level);
        });
    });
}

/// The limits of a job or, with the time for which its files are kept, of a task.
pub(super) fn constraints(json: &mut Json, name: &str, retention: Option<&str>) {
    json.object(name, |json| {
        // The largest time span of .NET: no limit.
        json.text("maxWallClockTime", "P10675199DT2H48M5.4775807S");
        if let Some(retention) = retention {
            json.text("retentionTime", retention);
        }
        json.number("maxTaskRetryCount", 0_u32);
    });
}

/// The member `startTask` of pools and nodes.
pub(super) fn start_task(json: &mut Json, name: &str, os: Os) {
    json.object(name, |json| {
        for name in MEMBERS {
            member(json, name, os);
        }
        user(json, "userIdentity", "admin");
        json.number("maxTaskRetryCount", 0_u32);
        json.flag("waitForSuccess", true);
    });
}
