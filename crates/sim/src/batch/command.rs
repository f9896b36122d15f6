//! The command line, environment and resource files of simulated tasks. Nothing runs them. They exist so that tests
//! can check that clients leave them out: in real fleets they contain what must not be passed on.

use super::json::Json;

/// A text that no client may ever print, store or send.
const SECRET: &str = "FAKE-SECRET-IN-TASK";

/// `commandLine`, `environmentSettings` and `resourceFiles`: start tasks and tasks use the same names.
pub(super) const MEMBERS: [&str; 3] = ["commandLine", "environmentSettings", "resourceFiles"];

/// Writes the member of [`MEMBERS`] called `name`; any other name gets a command line.
pub(super) fn member(json: &mut Json, name: &str) {
    match name {
        "commandLine" | "coordinationCommandLine" => {
            json.text(name, &format!("/bin/sh -c 'work --password {SECRET}'"));
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

/// The member `startTask` of pools and nodes.
pub(super) fn start_task(json: &mut Json, name: &str) {
    json.object(name, |json| {
        for name in MEMBERS {
            member(json, name);
        }
        json.object("userIdentity", |json| {
            json.object("autoUser", |json| {
                json.text("scope", "pool");
                json.text("elevationLevel", "admin");
            });
        });
        json.number("maxTaskRetryCount", 0_u32);
        json.flag("waitForSuccess", true);
    });
}
